//! Another build of this binary: the same but for the BPF programs, in each of which two instructions that know nothing
//! of each other stand the other way round. They do the same; to the kernel they are other programs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// Bytes of a BPF instruction.
const SIZE: usize = 8;

/// Writes such a build into a folder.
#[allow(dead_code)]
pub fn another_build(folder: &Path) -> PathBuf {
    another_build_of(&std::env::current_exe().unwrap(), folder)
}

/// The same of another binary.
pub fn another_build_of(binary: &Path, folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let embedded = std::fs::read(root.join("../dataplane/bpf/director.o")).unwrap();
    let changed = another_object(&embedded);
    let mut binary = std::fs::read(binary).unwrap();
    // It is aligned, more than to this.
    let places: Vec<_> = (0..binary.len())
        .step_by(8)
        .filter(|&at| binary[at..].starts_with(&embedded))
        .collect();
    assert!(!places.is_empty(), "this binary embeds no BPF object");
    for place in places {
        binary[place..place + changed.len()].copy_from_slice(&changed);
    }
    let path = folder.join("another-build");
    std::fs::write(&path, binary).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).unwrap();
    path
}

fn another_object(bytes: &[u8]) -> Vec<u8> {
    let elf = object::File::parse(bytes).unwrap();
    let section = elf.section_by_name("xdp").unwrap();
    let (at, _) = section.file_range().unwrap();
    let mut changed = bytes.to_vec();
    let mut programs = Vec::new();
    for symbol in elf.symbols() {
        if symbol.section_index() != Some(section.index()) || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let start = (at + symbol.address()) as usize;
        let code = &mut changed[start..start + symbol.size() as usize];
        if let Some(first) = independent_pair(code) {
            code[first * SIZE..(first + 2) * SIZE].rotate_left(SIZE);
            programs.push(symbol.name().unwrap());
        }
    }
    for name in ["director", "director_v6", "begin_v4", "begin_v6"] {
        assert!(programs.contains(&name), "{name} could not be changed");
    }
    changed
}

/// The first of two neighbours of which the second may come first.
fn independent_pair(code: &[u8]) -> Option<usize> {
    let code: Vec<_> = code.as_chunks::<SIZE>().0.iter().map(read).collect();
    let targets = jump_targets(&code);
    let is_second_half = |at: usize| at > 0 && code[at - 1].is_wide();
    (0..code.len() - 1).find(|&at| {
        let (first, second) = (&code[at], &code[at + 1]);
        first.is_arithmetic()
            && second.is_arithmetic()
            && !is_second_half(at)
            && !targets.contains(&(at + 1))
            && first.to != second.to
            && !first.reads(second.to)
            && !second.reads(first.to)
    })
}

fn jump_targets(code: &[Instruction]) -> HashSet<usize> {
    let mut targets = HashSet::new();
    for (at, instruction) in code.iter().enumerate() {
        let distance = match instruction.code {
            0x85 | 0x95 => continue,
            0x06 => instruction.number,
            code if matches!(code & 7, 5 | 6) => instruction.offset.into(),
            _ => continue,
        };
        targets.insert((at as i64 + 1 + i64::from(distance)) as usize);
    }
    targets
}

/// Source: Linux `Documentation/bpf/standardization/instruction-set.rst`.
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
}

fn read(bytes: &[u8; SIZE]) -> Instruction {
    let [code, registers, o0, o1, n0, n1, n2, n3] = *bytes;
    Instruction {
        code,
        to: registers & 0xf,
        from: registers >> 4,
        offset: i16::from_le_bytes([o0, o1]),
        number: i32::from_le_bytes([n0, n1, n2, n3]),
    }
}

impl Instruction {
    fn is_arithmetic(&self) -> bool {
        matches!(self.code & 7, 4 | 7)
    }

    fn is_wide(&self) -> bool {
        self.code == 0x18
    }

    fn reads(&self, register: u8) -> bool {
        let is_move = self.code & 0xf0 == 0xb0;
        let has_source = self.code & 8 != 0;
        (has_source && self.from == register) || (!is_move && self.to == register)
    }
}
