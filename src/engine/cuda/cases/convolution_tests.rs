//! The cases of convolutions, in both families of kernels.

use std::collections::BTreeSet;

use super::super::{Difference, compare};
use super::*;
use crate::engine::cuda::HostMemory;
use crate::engine::cuda::told::AnyParams;

fn case(name: &str) -> Case {
    cases().unwrap().into_iter().find(|case| case.name == name).unwrap()
}

/// The target of the last step.
fn target(prepared: &Prepared) -> (Convolution, HostMemory) {
    let AnyParams::Convolution(p) = prepared.steps.last().unwrap().params else { panic!("a convolution") };
    (p, prepared.expected().unwrap())
}

#[test]
fn every_kernel_has_cases_and_every_case_has_a_finite_result() {
    let (mut kernels, mut seeds) = (BTreeSet::new(), BTreeSet::new());
    for prepared in prepared().unwrap() {
        kernels.extend(prepared.steps.iter().map(|step| step.launch.kernel));
        if prepared.math != Math::F16 || prepared.family() == Family::Hopper {
            // The other kinds have the same numbers, and their sums are as large.
            continue;
        }
        let (p, memory) = target(&prepared);
        let format = if p.target_f32 == 1 { Format::F32 } else { prepared.math.format() };
        for pixel in 0..(p.images * p.height * p.width) as u64 {
            for part in p.parts.iter().take(p.part_count as usize) {
                for channel in 0..part.written {
                    let index = pixel * p.target_pixel as u64 + (part.start + channel) as u64;
                    let value = memory.value(format, p.target, index).unwrap();
                    assert!(
                        value.is_finite() && (channel < part.channels || value == 0.0),
                        "{}",
                        prepared.name
                    );
                }
            }
        }
    }
    let mut expected =
        BTreeSet::from(["convolution_direct", "pack_weights", "pack_weights_hopper"].map(String::from));
    for block in [16, 32, 48, 64] {
        expected.extend(["n", "hopper_n"].map(|family| format!("convolution_{family}{block}")));
    }
    assert_eq!(kernels, expected.iter().map(String::as_str).collect());
    assert!(cases().unwrap().iter().all(|case| seeds.insert(case.seed)), "seeds are their own");
}

#[test]
fn families_differ_in_kernels_and_in_the_order_of_weights_only() {
    let mut compared = 0;
    for case in cases().unwrap() {
        for math in [Math::F16, Math::Bf16] {
            let [ampere, hopper] = Family::ALL.map(|family| case.prepare(family, math));
            if hopper.family() == Family::Ampere {
                assert!(hopper.steps.len() == 1 && hopper.name == ampere.name, "{}", hopper.name);
                continue;
            }
            compared += 1;
            assert_eq!(hopper.name, ampere.name.replace(')', ", Hopper)"));
            let ((p, ours), (q, theirs)) = (target(&hopper), target(&ampere));
            assert_eq!(p, q);
            assert_ne!(ours.bytes(), theirs.bytes(), "{}: weights lie differently", hopper.name);
            let bytes = p.images as usize
                * (p.height * p.width * p.target_pixel) as usize
                * if p.target_f32 == 1 { 4 } else { 2 };
            let at = (hopper.compared[0].address - HostMemory::BASE) as usize;
            assert_eq!(ours.bytes()[at..at + bytes], theirs.bytes()[at..at + bytes], "{}", hopper.name);
        }
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn packed_weights_give_what_weights_give() {
    for case in cases().unwrap() {
        let fast = case.prepare(Family::Ampere, Math::F32);
        let plain = Case { direct: true, ..case }.prepare(Family::Ampere, Math::F32);
        if fast.steps.len() == 1 {
            continue;
        }
        let ((p, fast), (q, plain)) = (target(&fast), target(&plain));
        assert_eq!((p.target, p.target_pixel), (q.target, q.target_pixel));
        for index in 0..(p.images * p.height * p.width * p.target_pixel - 16) as u64 {
            let value = |memory: &HostMemory| memory.value(Format::F32, p.target, index).unwrap();
            let (a, b) = (value(&fast), value(&plain));
            assert!((a - b).abs() < 1e-5 || (a.is_nan() && b.is_nan()), "{index}: {a} {b}");
        }
    }
}

#[test]
fn a_comparison_notices_everything() {
    let prepared = case("RGB to 50 channels, padded").prepare(Family::Ampere, Math::F16);
    let right = prepared.expected().unwrap();
    let base = 0x7f00_0000_0000;
    let check = |bytes: &[u8]| compare(&prepared, base, bytes);
    let report = check(right.bytes()).unwrap();
    assert_eq!((report.buffers[0].error, report.buffers.len()), (0.0, 1));

    let spoilt = |at: usize, by: u8| {
        let mut bytes = right.bytes().to_vec();
        bytes[at] ^= by;
        check(&bytes)
    };
    let (p, _) = target(&prepared);
    let first = (p.target - HostMemory::BASE) as usize;
    assert!(matches!(spoilt(0, 1), Err(Difference::Stray { address: HostMemory::BASE, count: 1, .. })));
    assert!(spoilt(first, 1).is_ok(), "the last bit of a value may differ");
    assert!(matches!(spoilt(first + 1, 0x40), Err(Difference::TooFar { index: 0, .. })));
    assert!(
        matches!(spoilt(first + 50 * 2, 1), Err(Difference::TooFar { index: 50, .. })),
        "a padded channel"
    );
    assert!(matches!(check(&right.bytes()[1..]), Err(Difference::Size { .. })));
}

#[test]
fn addresses_move_and_nothing_else_does() {
    let mut prepared = case("two parts with all operands").prepare(Family::Ampere, Math::Bf16);
    let AnyParams::Convolution(p) = prepared.steps[1].params else { panic!("a convolution") };
    let AnyParams::Convolution(q) = prepared.steps[1].params.rebase(HostMemory::BASE, 1 << 40) else {
        panic!("a convolution")
    };
    let moved = |address: u64| if address == 0 { 0 } else { address - HostMemory::BASE + (1 << 40) };
    assert_eq!(q.target, moved(p.target));
    assert_eq!(q.parts[0].mask.address, moved(p.parts[0].mask.address));
    assert_eq!(q.parts[1].mask.address, 0, "there is none");
    assert_eq!(AnyParams::from(q).rebase(1 << 40, HostMemory::BASE), AnyParams::from(p));
    assert_eq!(AnyParams::from(p).bytes().len(), size_of::<Convolution>());

    // A kernel that finds an address in memory finds the moved one.
    let mut build = Builder::new(&[1]);
    let address = build.raw(&HostMemory::BASE.to_le_bytes());
    (prepared.memory, prepared.pointers) = (build.finish(), vec![address]);
    let (bytes, _) = prepared.at(1 << 40).unwrap();
    let at = (address - HostMemory::BASE) as usize;
    assert_eq!(bytes[at..at + 8], (1u64 << 40).to_le_bytes());
}
