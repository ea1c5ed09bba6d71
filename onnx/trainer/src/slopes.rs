//! Gradient checks: computed gradients against finite differences of the loss.

/// Compares the gradient of one parameter with the loss's slope along every value of it.
///
/// Where a maximum changes hands or ReLU switches between the two points, the slopes to either side
/// differ and there is no gradient to compare with; such values must be few.
pub(crate) fn check<M>(
    model: &mut M,
    loss_of: impl Fn(&mut M) -> f64,
    parameter: impl Fn(&mut M) -> &mut [f32],
    gradient: impl Fn(&M) -> Vec<f32>,
) {
    let here = loss_of(model);
    let computed = gradient(model);
    let step = 2e-3;
    let (mut largest, mut n_kinks) = (0f64, 0);
    for (i, &computed) in computed.iter().enumerate() {
        let start = parameter(model)[i];
        let mut loss_at = |value| {
            parameter(model)[i] = value;
            loss_of(model)
        };
        let above = (loss_at(start + step) - here) / f64::from(step);
        let below = (here - loss_at(start - step)) / f64::from(step);
        loss_at(start);
        if (above - below).abs() > 0.01 {
            n_kinks += 1;
            continue;
        }
        let (slope, computed) = ((above + below) / 2.0, f64::from(computed));
        largest = largest.max(slope.abs());
        assert!((slope - computed).abs() < 6e-3, "value {i}: slope {slope}, gradient {computed}");
    }
    assert!(largest > 0.02, "the check saw no gradient at all");
    let n_values = computed.len();
    assert!(n_kinks * 5 <= n_values, "{n_kinks} kinks among {n_values} values");
}
