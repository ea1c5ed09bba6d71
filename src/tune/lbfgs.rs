//! L-BFGS: minimization of a smooth function of many variables.

use std::collections::VecDeque;

/// The steps that the curvature is estimated from.
const MEMORY: usize = 10;

/// The most iterations.
const MAX_ITERATIONS: usize = 300;

/// The relative decrease below which the minimum is reached.
const TOLERANCE: f64 = 1e-9;

/// The share of the decrease that the slope promises which a step must make (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;

/// The most times that a step is halved.
const MAX_HALVINGS: usize = 40;

/// A step and the change of the gradient along it.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 / (step . change)
    rho: f64,
}

/// Minimizes a convex function from a start (Liu and Nocedal, 1989; two-loop recursion).
///
/// `evaluate` returns the value at a point and writes its gradient. The last point is returned after 300
/// iterations, or where no step decreases the value any more.
pub fn minimize(mut point: Vec<f64>, evaluate: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut gradient = vec![0.0; point.len()];
    let mut value = evaluate(&point, &mut gradient);
    let mut memory: VecDeque<Curvature> = VecDeque::new();
    let (mut next, mut next_gradient) = (point.clone(), gradient.clone());
    for _ in 0..MAX_ITERATIONS {
        let direction = direction(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            break;
        }
        // Without curvature yet, the gradient alone says nothing about the length.
        let first = if memory.is_empty() { 1.0 / norm(&gradient).max(1.0) } else { 1.0 };
        let mut length = first;
        let mut next_value = f64::INFINITY;
        for _ in 0..MAX_HALVINGS {
            for ((next, at), direction) in next.iter_mut().zip(&point).zip(&direction) {
                *next = at + length * direction;
            }
            next_value = evaluate(&next, &mut next_gradient);
            if next_value <= value + SUFFICIENT * length * slope {
                break;
            }
            length /= 2.0;
        }
        if next_value.is_nan() || next_value >= value {
            break;
        }
        remember(&mut memory, &point, &next, &gradient, &next_gradient);
        let decrease = value - next_value;
        std::mem::swap(&mut point, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = next_value;
        if decrease <= TOLERANCE * value.abs().max(1.0) {
            break;
        }
    }
    point
}

fn remember(
    memory: &mut VecDeque<Curvature>,
    point: &[f64],
    next: &[f64],
    gradient: &[f64],
    next_gradient: &[f64],
) {
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
    let (step, change) = (difference(next, point), difference(next_gradient, gradient));
    let curvature = dot(&step, &change);
    if curvature > 1e-12 * norm(&step) * norm(&change) {
        if memory.len() == MEMORY {
            memory.pop_front();
        }
        memory.push_back(Curvature { step, change, rho: 1.0 / curvature });
    }
}

/// Returns minus the gradient times the estimated inverse Hessian.
fn direction(gradient: &[f64], memory: &VecDeque<Curvature>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for Curvature { step, change, rho } in memory.iter().rev() {
        let share = rho * dot(step, &direction);
        add(&mut direction, -share, change);
        shares.push(share);
    }
    if let Some(Curvature { change, rho, .. }) = memory.back() {
        let scale = 1.0 / (rho * dot(change, change));
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for (Curvature { step, change, rho }, share) in memory.iter().zip(shares.into_iter().rev()) {
        let correction = share - rho * dot(change, &direction);
        add(&mut direction, correction, step);
    }
    direction
}

fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badly_scaled_quadratic_has_its_minimum_found() {
        let target = [1.0, -2.0, 3.0, 0.5];
        let scales = [1.0, 100.0, 0.01, 10.0];
        let found = minimize(vec![0.0; 4], |point, gradient| {
            let mut value = 0.0;
            for at in 0..4 {
                let off = point[at] - target[at];
                gradient[at] = 2.0 * scales[at] * off;
                value += scales[at] * off * off;
            }
            value
        });
        for (found, target) in found.iter().zip(target) {
            assert!((found - target).abs() < 1e-2, "{found} {target}");
        }
    }

    #[test]
    fn a_function_that_is_no_number_stays_at_its_start() {
        let found = minimize(vec![1.0], |_, gradient| {
            gradient[0] = 1.0;
            f64::NAN
        });
        assert_eq!(found, [1.0]);
    }
}
