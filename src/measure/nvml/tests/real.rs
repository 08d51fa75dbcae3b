//! The driver of this machine, for runs by hand where there is a GPU.

use super::*;

#[test]
#[ignore = "needs an NVIDIA GPU; run with --ignored --nocapture and read the log"]
fn the_devices_of_this_machine_are_sampled() {
    let library = library_path(None);
    let list = match list_gpus(library.as_deref()) {
        Ok(list) => list,
        Err(why) => return println!("skipped: {why}"),
    };
    println!("{list:#?}");
    for gpu in &list.gpus {
        let options = RecorderOptions::new(gpu.facts.uuid.clone().unwrap());
        let mut recorder = GpuRecorder::start(&options, MonotonicClock::new());
        let from = recorder.mark("begin");
        wait_for(&recorder, 50);
        let to = recorder.mark("end");
        let log = recorder.finish();
        log.write_lines(&mut std::io::stdout()).unwrap();
        println!("{:?}\n{:?}\nvouches: {}", log.window(from, to), log.notes(), log.vouches());
        assert_eq!(log.header.facts.as_ref().unwrap().uuid, gpu.facts.uuid);
        assert!(log.samples.len() >= 50 || log.footer.lost.is_some());
    }
}
