//! probe
use esr::{
    array::Array,
    engine::plan,
    graph::collapse,
    models::Architecture,
    train::{Adam, kaiming_uniform},
};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (b, p, reps): (usize, usize, usize) =
        (a[1].parse().unwrap(), a[2].parse().unwrap(), a[3].parse().unwrap());
    let graph = "imdn:blocks=7,branches=1x1".parse::<Architecture>().unwrap().graph().unwrap();
    let c = collapse(&graph);
    let mut w = kaiming_uniform(&graph, 1);
    let mut adam = Adam::new(Default::default(), &w);
    let mut s = 1u64;
    let mut rnd = |n: usize| -> Vec<f32> {
        (0..n)
            .map(|_| {
                s ^= s << 13;
                s ^= s >> 7;
                s ^= s << 17;
                (s >> 40) as f32 / (1u64 << 24) as f32
            })
            .collect()
    };
    let lr = Array::new([b, 3, p, p], rnd(b * 3 * p * p)).unwrap();
    let hr = Array::new([b, 3, 4 * p, 4 * p], rnd(b * 48 * p * p)).unwrap();
    let mut t = plan::Trainer::new(&c.graph).unwrap();
    let mut v: Vec<[f64; 4]> = Vec::new();
    for _ in 0..reps {
        let t0 = Instant::now();
        let f = c.weights(&w).unwrap();
        let t1 = Instant::now();
        let (_, g) = t.step(&f, &lr, &hr).unwrap();
        let t2 = Instant::now();
        let g = c.backward(&w, g.clone()).unwrap();
        let t3 = Instant::now();
        adam.update(&mut w, &g, 2e-4);
        let t4 = Instant::now();
        v.push([
            (t4 - t0).as_secs_f64() * 1e3,
            (t1 - t0 + (t3 - t2)).as_secs_f64() * 1e3,
            (t2 - t1).as_secs_f64() * 1e3,
            (t4 - t3).as_secs_f64() * 1e3,
        ]);
    }
    v.sort_by(|a, b| a[0].total_cmp(&b[0]));
    println!("median {:.1?} min {:.1?} arena {} MiB", v[reps / 2], v[0], t.arena_bytes() >> 20);
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
    );
}
