//! What is in the guest: busybox, modules, our program, and a first process that runs tasks.
//!
//! ```text
//! ttyS0  the kernel's console          ttyS1  answers, read back by [`answers`]:
//!                                             @task lab v4
//!                                             standard output
//!                                             @talk
//!                                             standard error
//!                                             @exit 0
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::modules;
use super::packages::Kernel;
use crate::tools;

/// Modules the lab needs; those they depend on come along.
const MODULES: [&str; 2] = ["veth", "bridge"];

/// Longest time a task may take in the guest. A guard against hanging, not a measure.
const TASK_LIMIT_S: u32 = 900;

/// The first process: mounts what a distribution would, then runs the tasks.
const INIT_HEAD: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /sbin
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
for module in /modules/*; do insmod "$module"; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
task() {
    echo "@task $1"
    timeout "$LIMIT" sh -c "$2" >/tmp/output 2>/tmp/talk </dev/null
    code=$?
    cat /tmp/output
    echo "@talk"
    cat /tmp/talk
    echo "@exit $code"
}
"#;

/// One task's answer.
pub struct Answer {
    /// Its name.
    pub task: String,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub talk: String,
    /// Exit code.
    pub code: i32,
}

/// A guest being put together.
pub struct Guest {
    archive: Archive,
    tasks: String,
}

impl Guest {
    /// A guest with busybox and the modules of `kernel`.
    pub fn new(kernel: &Kernel, busybox: &Path) -> Result<Self> {
        let mut archive = Archive::default();
        for folder in [
            "/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/etc", "/var/lib",
        ] {
            archive.folder(folder);
        }
        // The kernel opens it for the first process, before anything is mounted.
        archive.device("/dev/console", (5, 1));
        archive.file("/bin/busybox", &read(busybox)?);
        for (order, (name, bytes)) in modules::closure(&kernel.modules, &MODULES)?
            .iter()
            .enumerate()
        {
            archive.file(&format!("/modules/{order:02}-{name}.ko"), bytes);
        }
        Ok(Self {
            archive,
            tasks: String::new(),
        })
    }

    /// Adds a program of the host, without its debug information, and the libraries it loads.
    pub fn program(&mut self, name: &str, file: &Path) -> Result<()> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let small = folder.path().join(name);
        tools::run(Command::new("strip").arg("-o").args([&small, file]))?;
        self.archive
            .file(&format!("/usr/bin/{name}"), &read(&small)?);
        let listed = tools::output(Command::new("ldd").arg(file))?;
        for library in libraries(&listed) {
            self.archive
                .file(&library.to_string_lossy(), &read(&library)?);
        }
        Ok(())
    }

    /// Adds a file of the host.
    pub fn file(&mut self, path: &str, file: &Path) -> Result<()> {
        self.archive.file(path, &read(file)?);
        Ok(())
    }

    /// Adds a task: a line for the guest's shell.
    pub fn task(&mut self, name: &str, line: &str) {
        self.tasks
            .push_str(&format!("task '{name}' '{line}' >/dev/ttyS1\n"));
    }

    /// The archive to boot with.
    pub fn initramfs(mut self) -> Result<Vec<u8>> {
        let init = format!(
            "{INIT_HEAD}LIMIT={TASK_LIMIT_S}\n{}sleep 1\npoweroff -f\n",
            self.tasks
        );
        self.archive.file("/init", init.as_bytes());
        Ok(self.archive.finish())
    }
}

/// Reads what came over ttyS1. A task without its end died with the guest.
pub fn answers(text: &str) -> Vec<Answer> {
    text.split("@task ")
        .skip(1)
        .map(|part| {
            let (task, rest) = part.split_once('\n').unwrap_or((part, ""));
            let (rest, code) = rest.rsplit_once("@exit ").unwrap_or((rest, "-1"));
            let (output, talk) = rest.split_once("@talk\n").unwrap_or((rest, ""));
            Answer {
                task: task.trim().to_owned(),
                output: output.to_owned(),
                talk: talk.to_owned(),
                code: code.trim().parse().unwrap_or(-1),
            }
        })
        .collect()
}

/// The files among ldd's lines: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-…  (0x…)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_and_a_dead_guest_is_a_failure() {
        let text = "@task uname\n6.1.0\n@talk\n@exit 0\n@task lab v4\n{}\n@talk\nhalf a wo";
        let answers = answers(text);

        assert_eq!(answers.len(), 2);
        assert_eq!((answers[0].task.as_str(), answers[0].code), ("uname", 0));
        assert_eq!(answers[0].output, "6.1.0\n");
        assert_eq!(
            (answers[1].code, answers[1].talk.as_str()),
            (-1, "half a wo")
        );
    }

    #[test]
    fn libraries_are_found_in_what_ldd_says() {
        let listed = "\tlinux-vdso.so.1 (0x7ff)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f2)\n\t/lib64/ld.so (0x7f5)\n";
        assert_eq!(
            libraries(listed),
            [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld.so")]
        );
    }
}
