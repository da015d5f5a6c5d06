//! What a process costs: pages that it shares are counted by its part of them.
//!
//! Resident size would count a forked worker's shared pages once for every worker.

/// A process's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Proportional set size: a page that n processes share counts as its n-th part.
    pub pss: u64,
    /// Unique set size: what would be free again if this process ended.
    pub private: u64,
}

impl Memory {
    /// Reads it from the kernel. It walks the process's page tables: some milliseconds for a large
    /// process, so not for every call.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let kilobytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            pss: kilobytes("Pss:")? * 1024,
            private: (kilobytes("Private_Clean:")? + kilobytes("Private_Dirty:")?) * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_in_bytes() {
        let text = "5581 rollup\nRss:  884 kB\nPss:  385 kB\nPss_Dirty:  68 kB\n\
                    Private_Clean:  296 kB\nPrivate_Dirty:  68 kB\n";
        let read = Memory::parse(text).unwrap();
        assert_eq!(read.pss, 385 * 1024);
        assert_eq!(read.private, (296 + 68) * 1024);
        assert_eq!(Memory::parse("Rss: 1 kB"), None, "half a table is none");
    }

    #[test]
    fn our_own_memory_is_told() {
        let read = Memory::of(std::process::id()).unwrap();
        assert!(read.pss > 0 && read.private > 0 && read.private <= read.pss);
    }
}
