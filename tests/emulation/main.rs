//! The CPU kernels and what they and their tests need, and nothing else, so that they can be compiled for another processor without the dependencies of the whole
//! program. `neon.sh` runs them; the sources are the program's own.

#![expect(dead_code, reason = "the program uses more of these modules than the kernels' tests do")]

#[path = "../../src/array.rs"]
mod array;
#[cfg(test)]
mod bits;
#[path = "../../src/engine"]
mod engine {
    pub mod cpu;
}
#[path = "../../src/graph"]
mod graph {
    mod op;
    pub use op::Conv2d;
    /// The names that the optimiser uses of a module that needs much more.
    pub mod fold {
        use std::collections::BTreeMap;
        pub type Named<T> = BTreeMap<String, crate::array::Array<T>>;
        pub type Slices<'a> = BTreeMap<&'a str, &'a [f32]>;
        pub type SlicesMut<'a> = BTreeMap<&'a str, &'a mut [f32]>;
    }
}
mod measure {
    /// The median that the peak rate is; the program's statistics have tests that need a dependency more.
    pub struct Summary {
        pub median: f64,
    }

    impl Summary {
        pub fn of(samples: &[f64]) -> Option<Self> {
            let mut sorted = samples.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).map(|&median| Self { median })
        }
    }
}
#[path = "../../src/random.rs"]
mod random;
#[cfg(test)]
mod testing {
    use crate::array::Array;
    use crate::random::Random;

    pub fn uniform(shape: impl Into<Vec<usize>>, seed: u64) -> Array<f32> {
        let (mut array, mut random) = (Array::filled(shape, 0.0), Random::new(&[seed]));
        array.data_mut().iter_mut().for_each(|value| *value = random.uniform() as f32);
        array
    }
}
#[path = "../../src/train"]
mod train {
    mod adam;
    mod flat;
    #[cfg(test)]
    pub use adam::AdamSettings;
}
