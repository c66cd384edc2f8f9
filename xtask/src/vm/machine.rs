//! One emulated boot.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guest::{self, Answer};
use super::packages::Kernel;

/// Longest life of a guest. A guard against hanging, not a measure.
const LIMIT: Duration = Duration::from_secs(2400);

/// A panic must end the emulator, and nothing may wait for entropy or calibrate clocks.
/// `nokaslr`: without it 6.12 sometimes found a corrupted list in its first second (QEMU 7.2,
/// `-cpu max`: 1 boot of 6; with it none of 9).
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable \
                            no_timer_check nokaslr random.trust_cpu=on";

/// Boots `kernel` with `initramfs` and returns what its tasks answered.
pub fn boot(kernel: &Kernel, initramfs: &[u8]) -> Result<Vec<Answer>> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let [initrd, console, answers] =
        ["initrd", "console", "answers"].map(|name| folder.path().join(name));
    std::fs::write(&initrd, initramfs).context("writing the initramfs")?;
    let mut emulator = Emulator(
        Command::new("qemu-system-x86_64")
            .args([
                "-machine",
                "pc",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
            ])
            .args([
                "-smp",
                "2",
                "-m",
                "1536",
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", COMMAND_LINE])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-serial", &format!("file:{}", answers.display())])
            .stdin(Stdio::null())
            .spawn()
            .context("starting qemu-system-x86_64")?,
    );
    let ended = emulator.wait()?;
    let answers = guest::answers(&text(&answers));
    if !ended || answers.is_empty() {
        bail!(
            "the guest {}. The end of its console:\n{}",
            if ended {
                "died without a word"
            } else {
                "did not end"
            },
            tail(&text(&console), 30)
        );
    }
    Ok(answers)
}

/// An emulator that ends with us, however we end.
struct Emulator(Child);

impl Emulator {
    /// Waits for its end; false when it had to be given up.
    fn wait(&mut self) -> Result<bool> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            if self
                .0
                .try_wait()
                .context("waiting for the emulator")?
                .is_some()
            {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(false)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
