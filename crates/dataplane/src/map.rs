//! Maps in user space: mapped arrays as shared words.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use director::tables::{Weight, is_relieved};
use memmap2::{MmapOptions, MmapRaw};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bytes_of;
use crate::error::Error;

/// An `ARRAY` map with `BPF_F_MMAPABLE`, mapped: elements are runs of 64-bit words that the
/// program and we share. Reading and writing one word is atomic; an element of several is not.
#[derive(Clone)]
pub(crate) struct Words {
    memory: Arc<MmapRaw>,
    entries: usize,
    words_per_entry: usize,
}

impl Words {
    /// Maps the array behind `fd`, whose elements have `value_bytes` bytes.
    pub(crate) fn map(fd: impl AsFd, entries: usize, value_bytes: usize) -> Result<Self, Error> {
        // The kernel rounds elements up to eight bytes (kernel/bpf/arraymap.c).
        let words_per_entry = value_bytes.div_ceil(8);
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .unwrap_or(4096);
        let len = (entries * words_per_entry * 8).next_multiple_of(page as usize);
        let memory = MmapOptions::new()
            .len(len)
            .map_raw(fd.as_fd().as_raw_fd())
            .map_err(|source| Error::io("mapping a BPF array", source))?;
        Ok(Self {
            memory: Arc::new(memory),
            entries,
            words_per_entry,
        })
    }

    /// How many elements.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// First word of an element. Indices beyond the last are the last: callers check, and a mistake
    /// must not reach foreign memory.
    pub(crate) fn word(&self, entry: usize) -> &AtomicU64 {
        self.word_at(entry, 0)
    }

    /// Word `part` of an element.
    pub(crate) fn word_at(&self, entry: usize, part: usize) -> &AtomicU64 {
        let entry = entry.min(self.entries - 1);
        let part = part.min(self.words_per_entry - 1);
        let word = self.memory.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the index is inside the mapping by the two lines above; the mapping lives as long
        // as `self` and is page aligned; all access on both sides is by whole words.
        unsafe { &*word.add(entry * self.words_per_entry + part) }
    }

    /// Reads the first word of an element.
    pub(crate) fn load(&self, entry: usize) -> u64 {
        self.word(entry).load(Ordering::Acquire)
    }

    /// Reads an element, word by word; `None` when `T` is longer than one.
    pub(crate) fn read<T: FromBytes + IntoBytes>(&self, entry: usize) -> Option<T> {
        if size_of::<T>() > self.words_per_entry * 8 {
            return None;
        }
        let mut value = T::new_zeroed();
        for (part, chunk) in value.as_mut_bytes().chunks_mut(8).enumerate() {
            let word = self.word_at(entry, part).load(Ordering::Acquire);
            chunk.copy_from_slice(word.to_ne_bytes().get(..chunk.len())?);
        }
        Some(value)
    }

    /// Writes an element, word by word.
    pub(crate) fn write<T: IntoBytes + Immutable>(&self, entry: usize, value: &T) {
        for (part, chunk) in bytes_of(value).chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word_at(entry, part)
                .store(u64::from_ne_bytes(word), Ordering::Release);
        }
    }
}

/// Weight and thresholds of a destination, shared with the program; [`director::tables::Standing`] says what is
/// where.
pub(crate) struct SharedStanding<'m> {
    pub(crate) weight: &'m AtomicU64,
    pub(crate) thresholds: &'m AtomicU64,
}

impl SharedStanding<'_> {
    /// Whether the flag OVERLOAD is set.
    pub(crate) fn is_overloaded(&self) -> bool {
        Weight(self.weight.load(Ordering::Acquire)).is_overloaded()
    }

    /// After a connection less, see [`director::tables::Standing::unbound`].
    pub(crate) fn unbound(&self, gauge: u64) {
        let thresholds = self.thresholds.load(Ordering::Acquire);
        if self.is_overloaded() && is_relieved(gauge, thresholds) {
            self.change_weight(|present| present & !Weight::OVERLOAD);
        }
    }

    /// Replaces the thresholds; what they were.
    pub(crate) fn swap_thresholds(&self, word: u64) -> u64 {
        self.thresholds.swap(word, Ordering::AcqRel)
    }

    /// Changes the weight's word, whoever sets or clears its flag at the same time.
    pub(crate) fn change_weight(&self, change: impl Fn(u64) -> u64) {
        let mut present = self.weight.load(Ordering::Acquire);
        while let Err(other) = self.weight.compare_exchange(
            present,
            change(present),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            present = other;
        }
    }
}
