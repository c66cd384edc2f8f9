//! The program in the kernel.

use dirigo_dataplane::{Dataplane, Opened, Options};

#[test]
fn the_kernel_takes_the_program() {
    let options = Options {
        instance: format!("test-load-{}", std::process::id()),
        connections_max: 1024,
        pin_root: dirigo_dataplane::PIN_ROOT.into(),
    };
    let t = std::time::Instant::now();
    let (mut plane, opened) = Dataplane::open(&options).unwrap_or_else(|e| panic!("{e} {e:?}"));
    eprintln!(
        "open {:?} {} bytes {:?}",
        t.elapsed(),
        plane.memory_bytes(),
        plane.program_size()
    );
    assert_eq!(opened, Opened::Fresh);
    drop(plane);
    let (_plane, opened) = Dataplane::open(&options).unwrap();
    assert_eq!(opened, Opened::Adopted);
    assert!(Dataplane::release(&options.pin_root, &options.instance).unwrap());
}
