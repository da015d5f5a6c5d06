//! Known programs, where the way of a call finds them without lock, await or database.
//!
//! Invariants: reading loads one pointer; what was read from the catalog before a deletion is
//! never filed after it, because every removal moves the shard's generation and a stale read is
//! then not filed; an entry that is there is kept, so what was learnt about it is kept too, until there
//! are more than [`MOST`]. What makes room then is in the catalog still, and is read when it is called.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use dspex_pool::{Program, ProgramId};

use crate::failover::Need;

/// Filing a program copies its shard's map of pointers: enough shards keep that small even with
/// a hundred thousand programs.
const SHARDS: usize = 64;

/// Programs that are known at most: twice as many as are promised to cost a call nothing, and some
/// hundreds of megabytes where each brings a long signature.
const MOST: usize = 200_000;

/// How many names are compared at most when one is looked for that is not there.
const COMPARED: usize = 5_000;

/// A program that is known, with what was learnt about it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) program: Arc<Program>,
    /// The program's name as telemetry takes it, so that no call copies it.
    pub(crate) name: Arc<str>,
    pub(crate) need: Need,
}

/// The state of a shard before something was read; see [`Cache::file`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generation(u64);

#[derive(Debug)]
pub(crate) struct Cache {
    hasher: RandomState,
    shards: Box<[Shard]>,
    /// Entries of one shard at most.
    room: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: ArcSwap<HashMap<ProgramId, Arc<Entry>>>,
    /// Taken by writers only; counts removals.
    removals: Mutex<u64>,
}

impl Shard {
    fn writing(&self) -> MutexGuard<'_, u64> {
        // The map is swapped as a whole, so a panic elsewhere leaves it whole.
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self::with_room(MOST / SHARDS)
    }

    fn with_room(room: usize) -> Self {
        Self {
            room,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }

    fn place(&self, id: &ProgramId) -> usize {
        // The remainder is below the number of shards, whatever part of the hash is taken.
        usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or(0)
    }

    fn shard(&self, id: &ProgramId) -> &Shard {
        &self.shards[self.place(id)]
    }

    pub(crate) fn get(&self, id: &ProgramId) -> Option<Arc<Entry>> {
        self.shard(id).entries.load().get(id).cloned()
    }

    /// To be taken before the catalog is read or written, and handed to [`Cache::file`].
    pub(crate) fn generation(&self, id: &ProgramId) -> Generation {
        Generation(*self.shard(id).writing())
    }

    /// Files a program, unless one was removed from its shard since `before`, or this version of it
    /// or a newer one is there: then that one is answered.
    pub(crate) fn file(&self, program: Arc<Program>, before: Generation) -> Arc<Entry> {
        let shard = self.shard(&program.key.id);
        let removals = shard.writing();
        let entries = shard.entries.load();
        if let Some(known) = not_older(&entries, &program) {
            return Arc::clone(known);
        }
        let entry = entry(program);
        if *removals == before.0 {
            let mut next = HashMap::clone(&entries);
            self.insert(&mut next, &entry);
            shard.entries.store(Arc::new(next));
        }
        entry
    }

    /// Puts a version that was written in the place of any older one, which is not filed any more,
    /// whoever read it. Where something was removed since `before`, the program may be gone again:
    /// then the older one goes, and the next call reads the catalog.
    pub(crate) fn supersede(&self, program: Arc<Program>, before: Generation) {
        let shard = self.shard(&program.key.id);
        let mut removals = shard.writing();
        let entries = shard.entries.load();
        if not_older(&entries, &program).is_some() {
            return;
        }
        let mut next = HashMap::clone(&entries);
        next.remove(&program.key.id);
        if *removals == before.0 {
            self.insert(&mut next, &entry(program));
        }
        *removals += 1;
        shard.entries.store(Arc::new(next));
    }

    fn insert(&self, next: &mut HashMap<ProgramId, Arc<Entry>>, entry: &Arc<Entry>) {
        if next.len() >= self.room && !next.contains_key(&entry.program.key.id) {
            // Whichever comes first in the table: to know who was used last, every call would write.
            let first = next.keys().next().cloned();
            first.and_then(|id| next.remove(&id));
        }
        next.insert(entry.program.key.id.clone(), Arc::clone(entry));
    }

    /// Files many programs at once, at start, when nothing is removed yet.
    pub(crate) fn file_all(&self, programs: Vec<Arc<Program>>) {
        let mut by_shard: Vec<Vec<Arc<Program>>> = vec![Vec::new(); SHARDS];
        for program in programs {
            by_shard[self.place(&program.key.id)].push(program);
        }
        for (shard, programs) in self.shards.iter().zip(by_shard) {
            if programs.is_empty() {
                continue;
            }
            let removals = shard.writing();
            if *removals > 0 {
                // Somebody deletes already; what is not filed is read when it is called.
                continue;
            }
            let mut next = HashMap::clone(&shard.entries.load());
            let room = self.room.saturating_sub(next.len());
            for program in programs.into_iter().take(room) {
                next.entry(program.key.id.clone())
                    .or_insert_with(|| entry(program));
            }
            shard.entries.store(Arc::new(next));
        }
    }

    pub(crate) fn remove(&self, id: &ProgramId) {
        let shard = self.shard(id);
        let mut removals = shard.writing();
        *removals += 1;
        let mut next = HashMap::clone(&shard.entries.load());
        if next.remove(id).is_some() {
            shard.entries.store(Arc::new(next));
        }
    }

    /// The known name nearest to this one, where one is near enough to be meant.
    pub(crate) fn nearest(&self, id: &ProgramId) -> Option<ProgramId> {
        let wanted = id.as_str();
        let far = (wanted.len() / 3).clamp(1, 3);
        self.shards
            .iter()
            .flat_map(|shard| {
                let entries = shard.entries.load_full();
                let names: Vec<_> = entries
                    .keys()
                    .filter(|name| name.as_str().len().abs_diff(wanted.len()) <= far)
                    .cloned()
                    .collect();
                names
            })
            .take(COMPARED)
            .map(|name| (strsim::osa_distance(name.as_str(), wanted), name))
            .filter(|(distance, _)| *distance <= far)
            .min()
            .map(|(_, name)| name)
    }
}

/// This version of the program or a newer one, where it is known.
fn not_older<'a>(
    entries: &'a HashMap<ProgramId, Arc<Entry>>,
    program: &Program,
) -> Option<&'a Arc<Entry>> {
    let known = entries.get(&program.key.id);
    known.filter(|known| known.program.key.version >= program.key.version)
}

fn entry(program: Arc<Program>) -> Arc<Entry> {
    Arc::new(Entry {
        name: program.key.id.as_str().into(),
        program,
        need: Need::default(),
    })
}

#[cfg(test)]
mod tests {
    use dspex_pool::testing::fixture_programs::program;

    use super::*;

    fn id(text: &str) -> ProgramId {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_read_before_a_removal_is_not_filed_after_it() {
        let cache = Cache::new();
        let before = cache.generation(&id("a"));
        cache.remove(&id("a"));
        let entry = cache.file(program("a", 1, "m:f"), before);
        assert_eq!(
            entry.program.key.version, 1,
            "the reader still gets its answer"
        );
        assert!(cache.get(&id("a")).is_none());
        cache.file(program("a", 2, "m:f"), cache.generation(&id("a")));
        assert_eq!(cache.get(&id("a")).unwrap().program.key.version, 2);
    }

    #[test]
    fn an_older_version_is_never_filed_over_a_newer_one() {
        let cache = Cache::new();
        let served = |cache: &Cache| cache.get(&id("a")).map(|entry| entry.program.key.version);
        let before = cache.generation(&id("a"));
        cache.file(program("a", 2, "m:f"), before);
        let entry = cache.file(program("a", 1, "m:f"), before);
        assert_eq!(entry.program.key.version, 2, "who read the older one too");
        cache.supersede(program("a", 1, "m:f"), before);
        assert_eq!(served(&cache), Some(2));

        // Two writers: the later one's version stays, in whichever order they come here.
        let before = cache.generation(&id("a"));
        cache.supersede(program("a", 4, "m:f"), before);
        cache.supersede(program("a", 3, "m:f"), before);
        assert_eq!(served(&cache), Some(4));
    }

    #[test]
    fn what_was_replaced_is_not_filed_again_and_what_was_removed_does_not_come_back() {
        let cache = Cache::new();
        let before = cache.generation(&id("a"));
        cache.supersede(program("a", 2, "m:f"), before);
        cache.remove(&id("a"));
        cache.file(program("a", 1, "m:f"), before);
        assert!(cache.get(&id("a")).is_none(), "read before it was replaced");

        let before = cache.generation(&id("a"));
        cache.file(program("a", 1, "m:f"), before);
        cache.remove(&id("a"));
        cache.supersede(program("a", 2, "m:f"), before);
        assert!(
            cache.get(&id("a")).is_none(),
            "deleted after it was written"
        );
    }

    #[test]
    fn an_entry_that_is_there_is_kept() {
        let cache = Cache::new();
        cache.file_all(
            (0..500)
                .map(|n| program(&format!("p{n}"), n, "m:f"))
                .collect(),
        );
        let known = cache.get(&id("p77")).unwrap();
        let filed = cache.file(program("p77", 77, "m:f"), cache.generation(&id("p77")));
        assert!(Arc::ptr_eq(&known, &filed));
        cache.remove(&id("p77"));
        assert!(cache.get(&id("p77")).is_none());
        assert!(cache.get(&id("p78")).is_some());
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for_and_the_newest_is_known() {
        let known = |cache: &Cache| -> usize {
            let shards = cache.shards.iter();
            shards.map(|shard| shard.entries.load().len()).sum()
        };
        let cache = Cache::with_room(2);
        let programs = (0..1_000).map(|n| program(&format!("p{n}"), n, "m:f"));
        cache.file_all(programs.collect());
        assert_eq!(known(&cache), 2 * SHARDS);
        for n in 0..1_000 {
            let name = id(&format!("p{n}"));
            let filed = program(name.as_str(), n, "m:f");
            cache.file(filed, cache.generation(&name));
            assert!(cache.get(&name).is_some(), "{name}");
        }
        assert_eq!(known(&cache), 2 * SHARDS);
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_another_name_is_not() {
        let cache = Cache::new();
        cache.file_all(vec![
            program("summarise", 1, "m:f"),
            program("qa", 2, "m:f"),
        ]);
        assert_eq!(cache.nearest(&id("sumarise")), Some(id("summarise")));
        assert_eq!(cache.nearest(&id("qq")), Some(id("qa")));
        assert_eq!(cache.nearest(&id("translate")), None);
    }
}
