//! PFSELFTEST: whether both forms hold what they are given, agree, and estimate well.

use super::{Form, HEADER, REGISTERS, Registers, add, add_dense, count, dense, empty, form, place, to_dense};

/// What is wrong with this build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("Register {0} should be {1} but is {2}")]
    Register(usize, u8, u8),
    #[error("sparse encoding not used")]
    DenseTooSoon,
    #[error("dense/sparse disagree")]
    Disagree,
    #[error("Too big error. card:{0} abserr:{1}")]
    Error(u64, u64),
}

const ROUNDS: usize = 100;

/// Adds so many elements; `random` gives numbers without a pattern.
pub fn selftest(mut random: impl FnMut() -> u64, limit: usize, elements: u64) -> Result<(), Failure> {
    let mut packed = empty();
    let made = to_dense(&mut packed);
    debug_assert_eq!(made, Ok(()));
    for _ in 0..ROUNDS {
        let mut expect = Registers::default();
        for (register, rank) in expect.0.iter_mut().enumerate() {
            *rank = random() as u8 & 63;
            dense::set(&mut packed[HEADER..], register, *rank);
        }
        for register in 0..REGISTERS {
            let (want, got) = (expect.0[register], dense::get(&packed[HEADER..], register));
            if want != got {
                return Err(Failure::Register(register, want, got));
            }
        }
    }
    packed[HEADER..].fill(0);
    let mut other = empty();
    let (seed, mut checkpoint) = (random(), 1);
    for n in 1..=elements {
        let place = place(&(n ^ seed).to_le_bytes());
        add_dense(&mut packed, place);
        let added = add(&mut other, place, limit);
        debug_assert!(added.is_ok());
        if n != checkpoint {
            continue;
        }
        if n < limit as u64 / 2 && form(&other) != Some(Form::Sparse) {
            return Err(Failure::DenseTooSoon);
        }
        let estimate = count(&packed).unwrap_or(0);
        if count(&other) != Ok(estimate) {
            return Err(Failure::Disagree);
        }
        // Six times the standard error, so that chance alone does not fail; where a collision weighs most, one.
        let standard = 1.04 / (REGISTERS as f64).sqrt();
        let allowed = if n == 10 { 1 } else { (standard * 6.0 * n as f64).ceil() as u64 };
        let error = estimate.abs_diff(n);
        if error > allowed {
            return Err(Failure::Error(n, error));
        }
        checkpoint *= 10;
    }
    Ok(())
}
