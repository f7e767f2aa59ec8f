//! Hash maps by request or operation id. The ids are the client's own consecutive numbers, so a
//! cheap hash without a random seed is safe. The simulator sees the same order in every run.

use rustc_hash::FxHashMap;

pub(crate) type Map<K, T> = FxHashMap<K, T>;
pub(crate) type IdMap<T> = Map<u32, T>;
