//! The seeds with which keys are hashed. Keyspaces over the same rows share one, so that a key has
//! the same place in all of them.
//!
//! A keyspace's seed is its id, or, if keyspaces are bound to each other (`also_invalidates` in the
//! cluster file), the lowest id among them. So a key has the same partition, owner and shard in all
//! bound keyspaces, and the shard can drop it in all of them in one step.

use std::fmt;

/// The hash seed of every keyspace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSeeds([u8; 256]);

impl Default for HashSeeds {
    /// Every keyspace has its own.
    fn default() -> Self {
        let mut seeds = [0; 256];
        for (keyspace, seed) in (0u8..=255).zip(&mut seeds) {
            *seed = keyspace;
        }
        Self(seeds)
    }
}

impl fmt::Debug for HashSeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.bound()).finish()
    }
}

impl HashSeeds {
    /// Creates the seeds from the pairs of keyspaces that are bound to each other.
    #[must_use]
    pub fn of_bonds(bonds: impl IntoIterator<Item = (u8, u8)>) -> Self {
        let mut seeds = Self::default();
        for (a, b) in bonds {
            let (a, b) = (seeds.of(a), seeds.of(b));
            for seed in &mut seeds.0 {
                if *seed == a || *seed == b {
                    *seed = a.min(b);
                }
            }
        }
        seeds
    }

    /// Creates the seeds from a map's list. `None` if no pairs of bound keyspaces could lead to
    /// them.
    #[must_use]
    pub fn of_list(list: &[(u8, u8)]) -> Option<Self> {
        if list.len() > 255 {
            return None;
        }
        let seeds = Self::of_bonds(list.iter().copied());
        seeds.bound().eq(list.iter().copied()).then_some(seeds)
    }

    /// The seed of a keyspace.
    #[inline]
    #[must_use]
    pub fn of(&self, keyspace: u8) -> u8 {
        self.0[usize::from(keyspace)]
    }

    /// The keyspaces whose seed is not their id, each with its seed, by rising id.
    pub fn bound(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        (0u8..=255).zip(self.0).filter(|(keyspace, seed)| keyspace != seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_without_bonds_has_its_own_seed() {
        let seeds = HashSeeds::default();
        assert!((0..=255).all(|keyspace| seeds.of(keyspace) == keyspace));
        assert_eq!(seeds.bound().count(), 0);
    }

    #[test]
    fn bound_keyspaces_have_the_lowest_id_among_them() {
        // Bonds chain, whatever their order and direction.
        for bonds in [[(7, 3), (3, 9), (4, 255)], [(9, 3), (255, 4), (9, 7)]] {
            let seeds = HashSeeds::of_bonds(bonds);
            let bound: Vec<(u8, u8)> = seeds.bound().collect();
            assert_eq!(bound, [(7, 3), (9, 3), (255, 4)]);
            assert_eq!(HashSeeds::of_list(&bound), Some(seeds));
        }
        assert_eq!(HashSeeds::of_bonds([(5, 5)]), HashSeeds::default());
    }

    #[test]
    fn a_list_that_no_bonds_make_is_refused() {
        for list in [
            &[(3, 3)][..],     // its own
            &[(3, 7)],         // a higher one
            &[(7, 3), (7, 3)], // twice
            &[(9, 3), (7, 3)], // out of order
            &[(7, 3), (9, 7)], // a seed that is none
        ] {
            assert_eq!(HashSeeds::of_list(list), None, "{list:?}");
        }
        assert!(HashSeeds::of_list(&[]).is_some());
    }
}
