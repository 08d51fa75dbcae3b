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
    let m = esr::train::untrained(Model::load(&a[1]).unwrap());
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
    let mut t: Vec<f64> = (0..reps)
        .map(|_| {
            let t = Instant::now();
            n.forward(&x).unwrap();
            t.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    t.sort_by(f64::total_cmp);
    println!("median {:.1} min {:.1} ms", t[reps / 2], t[0]);
    if std::env::var("BD").is_ok() {
        let b = n.breakdown(m.identity.clone(), [w, h], 7).unwrap();
        let mut m = std::collections::BTreeMap::new();
        let mut tot = 0.0;
        for s in &b.steps {
            let e = m.entry(s.operation.clone()).or_insert((0, 0.0, 0.0));
            e.0 += 1;
            e.1 += s.median_thread_ms;
            e.2 += s.multiply_adds as f64;
            tot += s.median_thread_ms;
        }
        for (k, (c, t, f)) in m {
            println!("{k:45} x{c:2} {t:8.2} ms {:6.1} %  {:7.1} GF/s", t / tot * 100.0, 2.0 * f / t / 1e6);
        }
        println!("total thread ms {tot:.1} of {:?}", b.run_ms);
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
        println!("max diff {d:.2e}");
    }
}
