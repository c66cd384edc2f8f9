//! Kernel modules with those they need, in the order to load them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A module's name and its uncompressed bytes.
pub type Module = (String, Vec<u8>);

/// `wanted` and everything they depend on, dependencies first. Those built into the kernel are
/// left out.
pub fn closure(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = HashMap::new();
    index(&folder.join("kernel"), &mut files)?;
    let builtin = std::fs::read_to_string(folder.join("modules.builtin"))
        .with_context(|| format!("reading {}", folder.join("modules.builtin").display()))?;
    let builtin: Vec<_> = builtin
        .lines()
        .map(|line| name_of(Path::new(line)))
        .collect();
    let mut modules = Vec::new();
    for name in wanted {
        add(name, &files, &builtin, &mut modules)?;
    }
    Ok(modules)
}

fn add(
    name: &str,
    files: &HashMap<String, PathBuf>,
    builtin: &[String],
    modules: &mut Vec<Module>,
) -> Result<()> {
    let known = builtin.iter().any(|known| known == name);
    if known || modules.iter().any(|(loaded, _)| loaded == name) {
        return Ok(());
    }
    let Some(path) = files.get(name) else {
        bail!("the kernel package has no module {name}");
    };
    let bytes = uncompressed(path)?;
    for needed in depends(&bytes) {
        add(&needed, files, builtin, modules)?;
    }
    modules.push((name.to_owned(), bytes));
    Ok(())
}

fn index(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else {
            files.insert(name_of(&path), path);
        }
    }
    Ok(())
}

/// `net/802/stp.ko.xz` is the module `stp`; the kernel writes every dash as an underscore.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split(".ko")
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|end| end != "xz") {
        return std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    }
    let done = Command::new("xz")
        .arg("-dc")
        .arg(path)
        .output()
        .context("starting xz")?;
    if !done.status.success() {
        bail!("xz cannot read {}", path.display());
    }
    Ok(done.stdout)
}

/// The `depends=` entry of a module's `.modinfo`: names with commas between.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let names = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(names)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_built_in_modules_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("modules.builtin", b"kernel/net/ipv6/ipv6.ko\n");
        write("kernel/net/bridge/bridge.ko", b"\0depends=stp,llc,ipv6\0");
        write("kernel/net/802/stp.ko", b"\0depends=llc\0");
        write("kernel/net/llc/llc.ko", b"\0depends=\0");

        let modules = closure(folder.path(), &["bridge"]).unwrap();

        let names: Vec<_> = modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["llc", "stp", "bridge"]);
        assert!(closure(folder.path(), &["veth"]).is_err());
    }
}
