//! Taking DWARF out of a BPF object and leaving what the kernel and the loader read.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};

/// Returns `object` without its `.debug_*` sections and their relocations. `.BTF`, `.BTF.ext`,
/// programs, maps, the licence and the symbols stay.
pub fn debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("reading the linked object")?;
    for section in &mut elf.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug_") || name.starts_with(".rel.debug_");
    }
    elf.delete_orphans();
    // LLVM keeps the names of symbols and sections in one table; the writer wants two.
    if !elf
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString))
    {
        add_section_names(&mut elf);
    }
    let mut stripped = Vec::new();
    elf.write(&mut stripped)
        .context("writing the stripped object")?;
    Ok(stripped)
}

fn add_section_names(elf: &mut Builder<'_>) {
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Endianness;

    /// An object with sections of these names, one byte each.
    fn object_with(names: &[&'static str]) -> Vec<u8> {
        let mut elf = Builder::new(Endianness::Little, true);
        for name in names {
            let section = elf.sections.add();
            section.name = (*name).into();
            section.sh_type = object::elf::SHT_PROGBITS;
            section.sh_addralign = 1;
            section.data = SectionData::Data(vec![7].into());
        }
        add_section_names(&mut elf);
        elf.set_section_sizes();
        let mut bytes = Vec::new();
        elf.write(&mut bytes).unwrap();
        bytes
    }

    fn names(object: &[u8]) -> Vec<String> {
        let elf = Builder::read(object).unwrap();
        elf.sections
            .iter()
            .map(|section| section.name.to_string())
            .collect()
    }

    #[test]
    fn dwarf_goes_and_btf_programs_maps_and_licence_stay() {
        let given = object_with(&[
            "xdp",
            ".debug_info",
            ".BTF",
            ".debug_str",
            ".BTF.ext",
            "maps",
            "license",
        ]);
        let stripped = debug_sections(&given).unwrap();
        assert_eq!(
            names(&stripped),
            ["xdp", ".BTF", ".BTF.ext", "maps", "license", ".shstrtab"]
        );
    }
}
