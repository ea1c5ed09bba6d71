use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, tanh};

/// Runs both directions of an LSTM at once.
///
/// ```text
/// i, o, f = sigmoid(x_t + h_(t-1) R)   c' = tanh(x_t + h_(t-1) R)
/// c_t = f c_(t-1) + i c',   h_t = o tanh(c_t)
/// ```
///
/// `x` is the input already multiplied and with its bias, step by step: [T, 2, B, 4 H], in the order
/// i, o, f, c; `recurrent` is R, [2, H, 4 H]. Returns all states: [T, 2, B, H].
pub(super) fn lstm(x: Tensor<4>, recurrent: &Tensor<3>) -> Tensor<4> {
    let [_, n_directions, n_texts, n_gates] = x.dims();
    let n_state = n_gates / 4;
    let zeros = Tensor::zeros([n_directions, n_texts, n_state], &x.device());
    let (mut state, mut cell) = (zeros.clone(), zeros);
    let mut states = Vec::new();
    for x in steps(x) {
        let gates = x + state.matmul(recurrent.clone());
        let open = sigmoid(gates.clone().narrow(2, 0, 3 * n_state));
        let candidate = tanh(gates.narrow(2, 3 * n_state, n_state));
        let [input, output, forget]: [Tensor<3>; 3] =
            [0, 1, 2].map(|gate| open.clone().narrow(2, gate * n_state, n_state));
        cell = forget * cell + input * candidate;
        state = output * tanh(cell.clone());
        states.push(state.clone().unsqueeze_dim(0));
    }
    Tensor::cat(states, 0)
}

/// Splits a sequence into its steps, by halves.
///
/// The gradient of a part is spread over zeros of the whole: taking T steps from the whole costs
/// T * T in the backward pass, halving costs T log T.
fn steps(x: Tensor<4>) -> Vec<Tensor<3>> {
    let [n_steps, ..] = x.dims();
    if n_steps == 1 {
        return vec![x.squeeze_dim(0)];
    }
    let half = n_steps / 2;
    let mut all = steps(x.clone().narrow(0, 0, half));
    all.extend(steps(x.narrow(0, half, n_steps - half)));
    all
}
