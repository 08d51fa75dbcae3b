//! Whole networks by the plain twins of the kernels: what is compiled is right, whoever runs it.

use std::collections::BTreeMap;

use super::choice::Choices;
use super::compile::{End, Sites};
use super::draft::Draft;
use super::launch::convolution::Family;
use super::launch::{Command, Work};
use super::twin;
use super::{Format, HostMemory, Math, Way};
use crate::array::Array;
use crate::engine::plan;
use crate::engine::plan::lower::{Mode, lower};
use crate::engine::plan::program::Program;
use crate::gpu::cudnn::Pass;
use crate::graph::{Graph, GraphBuilder, backward, shapes};
use crate::models::Architecture;
use crate::testing::uniform;
use crate::weights::StateDict;

/// As many as a small GPU has: what is divided among them is divided here too.
const MULTIPROCESSORS: usize = 20;

/// Memory of the host in which a program has its places.
struct Machine {
    memory: HostMemory,
    weights: BTreeMap<String, u64>,
    gradients: BTreeMap<String, u64>,
    arena: u64,
    packed: u64,
    lr: u64,
    sr: u64,
    total: u64,
}

impl Machine {
    fn new(weights: &StateDict, lr: &Array<f32>, sr: usize, draft: &Draft) -> Self {
        // What nobody wrote is not a number.
        let mut bytes: Vec<u8> = Vec::new();
        let mut take = |length: u64| {
            let at = HostMemory::BASE + bytes.len() as u64;
            bytes.resize(bytes.len() + length.next_multiple_of(256) as usize, 0xff);
            at
        };
        let mut tensors = || -> BTreeMap<String, u64> {
            weights.iter().map(|(key, array)| (key.clone(), take(4 * array.len() as u64))).collect()
        };
        let (own, gradients) = (tensors(), tensors());
        let (arena, packed) = (take(draft.layout.bytes), take(draft.packed.bytes));
        let (lr_at, sr_at, total) = (take(4 * lr.len() as u64), take(4 * sr as u64), take(8));
        let mut machine = Self {
            memory: HostMemory::of(bytes),
            weights: own,
            gradients,
            arena,
            packed,
            lr: lr_at,
            sr: sr_at,
            total,
        };
        machine.put(lr_at, lr.data());
        for (key, array) in weights {
            machine.put(machine.weights[key], array.data());
        }
        machine
    }

    fn put(&mut self, address: u64, values: &[f32]) {
        for (index, value) in values.iter().enumerate() {
            self.memory.set_value(Format::F32, address, index as u64, f64::from(*value)).unwrap();
        }
    }

    fn get(&self, address: u64, count: usize) -> Vec<f32> {
        (0..count).map(|index| self.memory.value(Format::F32, address, index as u64).unwrap()).collect()
    }

    fn run(&mut self, commands: &[Command], math: Math) {
        for command in commands {
            let failed = |error: &dyn std::fmt::Display| -> ! {
                panic!("{} ({}): {error}", command.label, command.work.name())
            };
            match &command.work {
                Work::Kernel(launch, params) => {
                    params.run_twin(launch.kernel, math, &mut self.memory).unwrap_or_else(|e| failed(&e));
                }
                Work::Cudnn(call) => {
                    twin::cudnn::convolution(&mut self.memory, call).unwrap_or_else(|e| failed(&e));
                }
            }
        }
    }

    fn sites<'a>(
        &'a self,
        of: &'a impl Fn(&str) -> Option<u64>,
        gradient: &'a impl Fn(&str) -> Option<u64>,
        end: End,
    ) -> Sites<'a> {
        Sites { arena: self.arena, packed: self.packed, workspace: 0, weight: of, gradient, lr: self.lr, end }
    }
}

fn model(architecture: &str) -> (Graph, StateDict) {
    let graph = architecture.parse::<Architecture>().unwrap().graph().unwrap();
    let weights = crate::train::kaiming_uniform(&graph, 3);
    (graph, weights)
}

fn compiled(machine: &Machine, draft: &Draft, end: End) -> Vec<Command> {
    let of = |key: &str| machine.weights.get(key).copied();
    let gradient = |key: &str| machine.gradients.get(key).copied();
    let compiler = draft.compiler(machine.sites(&of, &gradient, end));
    let mut commands = compiler.prepare().unwrap();
    commands.extend(compiler.run().unwrap());
    commands
}

/// A draft in which one way computes everything that it can.
fn draft(program: Program, math: Math, way: Way) -> Draft {
    let mut draft = Draft::plain(program, math, MULTIPROCESSORS).unwrap();
    let choices = Choices::all(&draft.program, way);
    draft.choose(choices);
    draft
}

fn by_twins(graph: &Graph, weights: &StateDict, lr: &Array<f32>, math: Math, way: Way) -> Vec<f32> {
    let &[images, _, height, width] = lr.shape() else { panic!() };
    let program = lower(graph, Mode::Infer, &[graph.output()], [images, height, width], width).unwrap();
    let draft = draft(program, math, way);
    let sr: usize =
        images * shapes(graph, width, height).unwrap()[graph.output().index()].iter().product::<usize>();
    let mut machine = Machine::new(weights, lr, sr, &draft);
    let commands = compiled(&machine, &draft, End::Planes(machine.sr));
    let taken = |command: &Command| match &command.work {
        Work::Kernel(launch, _) if launch.family() == Family::Hopper => Way::Hopper,
        Work::Kernel(..) => Way::Own,
        Work::Cudnn(call) => Way::Cudnn(call.algorithm),
    };
    assert!(commands.iter().any(|command| taken(command) == way));
    machine.run(&commands, math);
    machine.get(machine.sr, sr)
}

fn worst(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = expected.iter().zip(found).map(|(a, b)| f64::from(a - b).abs() / f64::from(largest));
    apart.fold(0.0, |worst, one| if one <= worst { worst } else { one })
}

/// Every operation occurs: splits and sums of blocks, strided and grouped convolutions, pools, resizes, sigmoids and products.
#[test]
fn forward_passes_are_the_processors() {
    for (architecture, images, [height, width]) in [
        ("imdn:blocks=2,channels=16,distilled=4", 2, [5, 7]),
        ("imdn:blocks=1", 1, [4, 6]),
        ("imdn:blocks=1,channels=16,distilled=8,branches=1x1", 1, [6, 5]),
        ("rfdn:blocks=1", 1, [17, 18]),
        ("rlfn:blocks=1", 1, [18, 17]),
    ] {
        let (graph, weights) = model(architecture);
        let lr = uniform::<f32>([images, 3, height, width], 5)
            .map(|value| (value + 1.0) / 2.0 * graph.data_range());
        let expected = plan::Network::new(graph.clone(), &weights).unwrap().forward(&lr).unwrap();
        // About three times what was seen.
        for (math, bound) in [(Math::F32, 2e-6), (Math::Tf32, 2e-3), (Math::F16, 4e-3), (Math::Bf16, 3e-2)] {
            let hopper = matches!(math, Math::F16 | Math::Bf16).then_some(Way::Hopper);
            for way in [Way::Own, Way::Cudnn(0)].into_iter().chain(hopper) {
                let found = worst(expected.data(), &by_twins(&graph, &weights, &lr, math, way));
                println!("{architecture} {} {way} {found:e}", math.name());
                assert!(found <= bound, "{architecture}, {}, {way}: {found:e}", math.name());
            }
        }
    }
}

#[test]
fn gradients_are_the_processors() {
    for architecture in [
        "imdn:blocks=2,channels=16,distilled=4",
        "rfdn:blocks=1",
        "rlfn:blocks=1",
        "imdn:blocks=1,channels=16,distilled=8,branches=1x1",
    ] {
        let (graph, weights) = model(architecture);
        let range = graph.data_range();
        let image = |side: usize, seed| {
            uniform::<f32>([2, 3, side, side], seed).map(|value| (value + 1.0) / 2.0 * range)
        };
        let (lr, hr) = (image(16, 5), image(64, 6));
        let mut expected: BTreeMap<String, Vec<f32>> =
            weights.iter().map(|(key, array)| (key.clone(), vec![0.0; array.len()])).collect();
        let slices = weights.iter().map(|(key, array)| (key.as_str(), array.data())).collect();
        let mut places =
            expected.iter_mut().map(|(key, values)| (key.as_str(), values.as_mut_slice())).collect();
        let loss = plan::Trainer::new(&graph).unwrap().step(&slices, &lr, &hr, &mut places).unwrap();

        let backward = backward(&graph).unwrap();
        let program = lower(&backward.graph, Mode::Train, &backward.step_roots(), [2, 16, 16], 16).unwrap();
        let maths = [(Math::F32, 2e-6), (Math::Tf32, 1e-2), (Math::Bf16, 0.2)];
        let by_cudnn = [(Math::F32, 2e-6), (Math::Bf16, 0.2)].into_iter();
        // In 16 bits once: the plain twin is slow.
        let by_cudnn = by_cudnn.filter(|(math, _)| *math == Math::F32 || architecture.contains("branches"));
        let runs = maths.map(|(math, bound)| (math, bound, Way::Own)).into_iter();
        for (math, bound, way) in runs.chain(by_cudnn.map(|(math, bound)| (math, bound, Way::Cudnn(1)))) {
            let draft = draft(program.clone(), math, way);
            let mut machine = Machine::new(&weights, &lr, hr.len(), &draft);
            machine.put(machine.sr, hr.data());
            let end = End::Loss { hr: machine.sr, total: machine.total };
            let commands = compiled(&machine, &draft, end);
            let gradients = commands.iter().filter(|command| {
                matches!(&command.work, Work::Cudnn(call) if call.shape.pass == Pass::WeightGradient)
            });
            assert_eq!(gradients.count() > 0, way != Way::Own);
            machine.run(&commands, math);
            let total = f64::from_le_bytes(machine.memory.read(machine.total).unwrap());
            assert!((total - loss).abs() / loss < bound, "{architecture}, {}: {total} {loss}", math.name());
            let (mut apart, mut all) = (0.0, 0.0);
            for (key, expected) in &expected {
                let found = machine.get(machine.gradients[key], expected.len());
                let squares = expected.iter().zip(&found).map(|(a, b)| f64::from(a - b).powi(2));
                let (squares, own) =
                    (squares.sum::<f64>(), expected.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>());
                println!("{key}: {:e}", (squares / own).sqrt());
                apart += squares;
                all += own;
            }
            let found = (apart / all).sqrt();
            println!("{architecture} {} {way} {found:e}", math.name());
            assert!(found <= bound, "{architecture}, {}, {way}: {found:e}", math.name());
        }
    }
}

/// An end that is no convolution would be written in 16 bits and read as f32.
#[test]
fn an_end_that_is_no_convolution_is_refused_in_16_bits_and_runs_in_f32() {
    let mut g = GraphBuilder::new();
    let x = g.input(3);
    let (a, b) = (g.conv3x3("a", x, 3), g.conv3x3("b", x, 3));
    let sr = g.mul(a, b);
    let graph = g.finish(sr, 1).unwrap();
    let backward = backward(&graph).unwrap();
    for (graph, mode, roots, end) in [
        (&graph, Mode::Infer, vec![graph.output()], End::Planes(1 << 22)),
        (&backward.graph, Mode::Train, backward.step_roots(), End::Loss { hr: 1 << 22, total: 1 << 23 }),
    ] {
        let program = lower(graph, mode, &roots, [1, 8, 8], 8).unwrap();
        for (math, runs) in [(Math::F32, true), (Math::Bf16, false)] {
            let draft = draft(program.clone(), math, Way::Own);
            let of = |_: &str| Some(1 << 21);
            let run = draft.compiler(somewhere(&of, end)).run();
            assert_eq!(run.is_ok(), runs, "{mode:?}, {}", math.name());
        }
    }
}

/// What is fused, what is free and in which order everything runs is the processor's; only the last word of a line, the kernels, is the device's.
#[test]
fn plans_are_the_processors() {
    for architecture in ["imdn:blocks=2", "rfdn:blocks=1", "rlfn:blocks=1"] {
        let (graph, weights) = model(architecture);
        let shape = [1, 24, 20];
        let program = lower(&graph, Mode::Infer, &[graph.output()], shape, 20).unwrap();
        let text = dumped(&program, &weights, End::Planes(1 << 22));
        let processor = plan::Plan::inference(&graph, shape, plan::Layout::Fast).unwrap();
        assert_eq!(steps_of(&text), steps_of_processor(&processor), "{architecture}");
        if architecture.starts_with("imdn") {
            insta::assert_snapshot!(text);
        }
        let backward = backward(&graph).unwrap();
        let program = lower(&backward.graph, Mode::Train, &backward.step_roots(), [2, 24, 20], 20).unwrap();
        let processor = plan::Plan::training(&backward, [2, 24, 20]).unwrap();
        let end = End::Loss { hr: 1 << 22, total: 1 << 23 };
        assert_eq!(
            steps_of(&dumped(&program, &weights, end)),
            steps_of_processor(&processor),
            "{architecture}"
        );
    }
}

fn dumped(program: &Program, weights: &StateDict, end: End) -> String {
    let draft = draft(program.clone(), Math::Bf16, Way::Own);
    let of = |key: &str| weights.contains_key(key).then_some(1 << 21);
    super::dump::dump(program, &draft.compiler(somewhere(&of, end)).by_step().unwrap())
}

/// Places where nothing is run.
fn somewhere<'a>(of: &'a dyn Fn(&str) -> Option<u64>, end: End) -> Sites<'a> {
    Sites { arena: 1 << 20, packed: 1 << 24, workspace: 0, weight: of, gradient: of, lr: 1 << 25, end }
}

/// Steps in the order of their text: the processor's plan has its own order among those that do not depend on each other.
fn steps_of(dump: &str) -> Vec<String> {
    let mut steps: Vec<String> =
        dump.lines().map(|line| line.rsplit_once("  = ").unwrap().0.to_owned()).collect();
    steps.sort();
    steps
}

/// The same of the processor's plan, without its algorithms.
fn steps_of_processor(plan: &plan::Plan) -> Vec<String> {
    use plan::Algorithm::{Direct, Grouped, Pointwise, Winograd2x2, Winograd4x4, Winograd4x6};
    let text = plan.to_string();
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let mut steps: Vec<String> = lines
        .map(|line| {
            let line = line.rsplit_once("  -").map_or(line, |(line, _)| line).to_owned();
            let algorithms = [Direct, Grouped, Pointwise, Winograd2x2, Winograd4x4, Winograd4x6];
            algorithms.iter().fold(line, |line, algorithm| line.replacen(&format!(", {algorithm}("), "(", 1))
        })
        .collect();
    steps.sort();
    steps
}
