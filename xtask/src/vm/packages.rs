//! Kernels and busybox from Debian, through an apt of our own.
//!
//! The machine's apt is asked only where it downloads from; its lists, its state and its
//! installed packages are never touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::tools;

/// Where the kernels are: 6.1, 6.12, 6.18 in this order.
const SUITES: [&str; 3] = ["bookworm", "trixie", "trixie-backports"];

/// Signs Debian's package lists.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// A private apt and what it fetched.
pub struct Packages {
    cache: PathBuf,
}

/// An unpacked kernel package.
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// Its modules' folder.
    pub modules: PathBuf,
}

impl Packages {
    /// The cache in `cache`, with Debian's package lists. Delete the folder for fresher ones.
    pub fn open(cache: &Path) -> Result<Self> {
        let packages = Self {
            cache: cache.to_path_buf(),
        };
        if !cache.join("listed").exists() {
            packages.configure()?;
            eprintln!("xtask: reading Debian's package lists");
            tools::run(packages.apt("apt-get").args(["-qq", "update"]))?;
            fs::write(cache.join("listed"), "")?;
        }
        Ok(packages)
    }

    /// The newest kernel of a series, as Debian builds it for virtual machines.
    pub fn kernel(&self, series: &str) -> Result<Kernel> {
        let prefix = format!("linux-image-{series}.");
        let names = tools::output(self.apt("apt-cache").args(["pkgnames", &prefix]))?;
        let Some(package) = newest(names.lines()) else {
            bail!(
                "Debian's {} have no {prefix}*-cloud-amd64. Known to be there: 6.1, 6.12, 6.18. \
                 If the lists are old, delete {}",
                SUITES.join(", "),
                self.cache.display()
            );
        };
        let folder = self.unpacked(package)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        // Debian moved modules below /usr between 12 and 13.
        let modules = ["usr/lib/modules", "lib/modules"]
            .map(|below| folder.join(below).join(&release))
            .into_iter()
            .find(|modules| modules.is_dir())
            .with_context(|| format!("{package} has no modules"))?;
        let image = folder.join(format!("boot/vmlinuz-{release}"));
        Ok(Kernel {
            release,
            image,
            modules,
        })
    }

    /// A busybox that needs no library.
    pub fn busybox(&self) -> Result<PathBuf> {
        let folder = self.unpacked("busybox-static")?;
        ["usr/bin/busybox", "bin/busybox"]
            .map(|below| folder.join(below))
            .into_iter()
            .find(|busybox| busybox.is_file())
            .context("busybox-static has no busybox")
    }

    /// The folder with a package's files, fetched when it is not there yet.
    fn unpacked(&self, package: &str) -> Result<PathBuf> {
        let folder = self.cache.join("unpacked").join(package);
        if folder.is_dir() {
            return Ok(folder);
        }
        eprintln!("xtask: fetching {package}");
        let download = tempfile::tempdir_in(&self.cache).context("making a folder")?;
        tools::run(
            self.apt("apt-get")
                .args(["-qq", "download", package])
                .current_dir(download.path()),
        )?;
        let file = fs::read_dir(download.path())?
            .next()
            .with_context(|| format!("apt fetched no file for {package}"))??
            .path();
        let fresh = download.path().join("files");
        tools::run(Command::new("dpkg-deb").arg("-x").args([&file, &fresh]))?;
        fs::create_dir_all(self.cache.join("unpacked"))?;
        fs::rename(&fresh, &folder).with_context(|| format!("keeping {}", folder.display()))?;
        Ok(folder)
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", self.cache.join("apt.conf"));
        apt
    }

    /// Writes an apt configuration in which nothing is the machine's own.
    fn configure(&self) -> Result<()> {
        let cache = self.cache.display();
        for folder in [
            "etc/preferences.d",
            "etc/apt.conf.d",
            "lists/partial",
            "archives/partial",
            "state",
        ] {
            fs::create_dir_all(self.cache.join(folder))
                .with_context(|| format!("making {cache}/{folder}"))?;
        }
        let uri = mirror()?;
        let key = KEYRINGS.iter().find(|keyring| Path::new(keyring).exists());
        let signed_by = key.map_or(String::new(), |key| format!("[signed-by={key}] "));
        let sources: String = SUITES
            .iter()
            .map(|suite| format!("deb {signed_by}{uri} {suite} main\n"))
            .collect();
        fs::write(self.cache.join("etc/sources.list"), sources)?;
        fs::write(self.cache.join("state/status"), "")?;
        let settings = format!(
            "Dir::Etc \"{cache}/etc\";\nDir::Etc::sourcelist \"{cache}/etc/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::State \"{cache}/state\";\n\
             Dir::State::lists \"{cache}/lists\";\nDir::State::status \"{cache}/state/status\";\n\
             Dir::Cache \"{cache}\";\nDir::Cache::archives \"{cache}/archives\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures \"amd64\";\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n"
        );
        fs::write(self.cache.join("apt.conf"), settings)?;
        Ok(())
    }
}

/// Where this machine gets Debian's packages.
fn mirror() -> Result<String> {
    let targets = tools::output(
        Command::new("apt-get")
            .args(["indextargets", "--format", "$(LABEL) $(REPO_URI)"])
            .arg("Created-By: Packages"),
    )
    .context("asking apt for its package source; `vm` needs a Debian machine")?;
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian "))
        .map(str::to_owned)
        .context("apt has no Debian package source; add one to /etc/apt/sources.list")
}

/// The newest of the kernel packages for virtual machines among `names`.
fn newest<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .filter(|name| name.ends_with("-cloud-amd64"))
        .max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u32> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_cloud_kernel_is_taken_and_numbers_compare_as_numbers() {
        let names = [
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.12.48+deb13-cloud-amd64",
            "linux-image-6.12.50+deb13-cloud-amd64-unsigned",
            "linux-image-6.12.60+deb13-amd64",
        ];
        assert_eq!(newest(names.into_iter()), Some(names[1]));
        assert_eq!(newest(["linux-image-amd64"].into_iter()), None);
    }
}
