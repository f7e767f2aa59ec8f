//! `also_invalidates`: keyspaces over the same rows, by name.

use crate::mistake::Report;
use crate::model::KeyspaceConfig;
use crate::section::At;
use crate::suggest::nearest;

/// The names in a keyspace's `also_invalidates`.
pub(super) struct Named<'d> {
    pub(super) id: u8,
    /// The key's dotted name, for messages.
    pub(super) key: String,
    pub(super) others: At<Vec<&'d str>>,
}

/// Turns the names into ids, or reports what is wrong with them.
pub(super) fn resolve(
    keyspaces: &mut [KeyspaceConfig],
    named: &[Named<'_>],
    report: &mut Report<'_>,
) -> Option<()> {
    let mut resolved = Vec::with_capacity(named.len());
    for Named { id, key, others } in named {
        let own = keyspaces.iter().find(|keyspace| keyspace.id == *id)?;
        let mut ids = Vec::with_capacity(others.value.len());
        for name in &others.value {
            let place = At { value: *name, at: others.at };
            ids.push(resolve_one(own, place, key, keyspaces, report));
        }
        let mut ids: Vec<u8> = ids.into_iter().collect::<Option<_>>()?;
        ids.sort_unstable();
        ids.dedup();
        resolved.push((*id, ids));
    }
    for (id, ids) in resolved {
        let own = keyspaces.iter_mut().find(|keyspace| keyspace.id == id)?;
        own.also_invalidates = ids;
    }
    Some(())
}

fn resolve_one(
    own: &KeyspaceConfig,
    name: At<&str>,
    key: &str,
    keyspaces: &[KeyspaceConfig],
    report: &mut Report<'_>,
) -> Option<u8> {
    let At { value: name, at } = name;
    let Some(other) = keyspaces.iter().find(|keyspace| keyspace.name == name) else {
        let names = keyspaces.iter().filter(|other| other.id != own.id);
        let names: Vec<&str> = names.map(|other| &*other.name).collect();
        let instead = nearest(name, &names).map_or_else(
            || "write the name of another keyspace of this file".to_owned(),
            |near| format!("write \"{near}\""),
        );
        report.mistake(at, key, format!("there is no keyspace \"{name}\"; {instead}"));
        return None;
    };
    if other.id == own.id {
        let wrong = format!("\"{name}\" is this keyspace itself; remove it");
        report.mistake(at, key, wrong);
        return None;
    }
    if (other.key_type, other.key_case) != (own.key_type, own.key_case) {
        let wrong = format!(
            "the keys of \"{}\" and \"{name}\" have different types, so they can't be the same; \
             write the same `key` and `key_case` for both",
            own.name
        );
        report.mistake(at, key, wrong);
        return None;
    }
    Some(other.id)
}
