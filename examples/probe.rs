use esr::{
    array::Array,
    engine::{plan, reference},
    models::Model,
};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (w, h, reps): (usize, usize, usize) =
        (a[2].parse().unwrap(), a[3].parse().unwrap(), a[4].parse().unwrap());
    let m = Model::load(&a[1]).unwrap();
    let m = esr::train::untrained(m);
    let mut s = 1u64;
    let data: Vec<f32> = (0..3 * w * h)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u64 << 24) as f32
        })
        .collect();
    let x = Array::new([1, 3, h, w], data).unwrap();
    let n = plan::Network::new(m.graph.clone(), m.weights().unwrap()).unwrap();
    let y = n.forward(&x).unwrap();
    if reps > 0 {
        let mut t: Vec<f64> = (0..reps)
            .map(|_| {
                let t = Instant::now();
                n.forward(&x).unwrap();
                t.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        t.sort_by(f64::total_cmp);
        println!("median {:.1} min {:.1} ms", t[reps / 2], t[0]);
    }
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
    );
    if a.len() > 5 {
        let r = reference::Network::<f32>::new(m.graph.clone(), m.weights().unwrap())
            .unwrap()
            .forward(&x)
            .unwrap();
        let d = r.data().iter().zip(y.data()).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let mx = r.data().iter().fold(0f32, |a, b| a.max(b.abs()));
        println!("max diff {d:.2e} of {mx:.3}");
    }
}
