//! What a request needs of its caller's rights. It is checked where the caller is connected, before the
//! request is placed, redirected or forwarded: servers believe each other.

use standin_protocol::users::{Right, Rights};

use super::codec::What;
use crate::node::modify::{Edit, Modify, Ttl};
use crate::node::{Action, CommandHead};

/// What is refused, in the words of Redis.
const KEY: &str = "this user has no permissions to access one of the keys used as arguments";
const COMMAND: &str = "this user has no permissions to run this command";

/// Whether a caller with these rights may make this request.
///
/// # Errors
/// The explanation of the refusal.
pub(super) fn check(what: &What, rights: &Rights) -> Result<(), &'static str> {
    match what {
        What::Command(head) => in_keyspace(head, None, rights),
        What::Modify(head, modify) => in_keyspace(head, Some(modify), rights),
        What::Alone(head, modify) => in_keyspace(head, modify.as_deref(), rights),
        // They are about all keyspaces.
        What::Walk(_) | What::Slice(_) => everywhere(rights, Right::Read),
        What::Stats | What::Hot => everywhere(rights, Right::Administer),
        // A held one is checked when it is carried out.
        What::Held(_)
        | What::Routes
        | What::Refused(..)
        | What::Said
        | What::Again
        | What::Auth
        | What::Nothing
        | What::Last => Ok(()),
    }
}

fn in_keyspace(
    head: &CommandHead,
    modify: Option<&Modify>,
    rights: &Rights,
) -> Result<(), &'static str> {
    let needed: &[Right] = match modify {
        Some(modify) if is_read(modify) => &[Right::Read],
        _ => needed(head.action),
    };
    let is_permitted = needed.iter().all(|right| rights.of(*right).has(head.keyspace));
    let refused = if head.action == Action::Flush { COMMAND } else { KEY };
    is_permitted.then_some(()).ok_or(refused)
}

/// Whether an operation changes nothing, such as the read of a key that is watched.
fn is_read(modify: &Modify) -> bool {
    modify.edit == Edit::Keep && modify.ttl == Ttl::Keep && modify.vivify.is_none()
}

fn everywhere(rights: &Rights, right: Right) -> Result<(), &'static str> {
    rights.has_everywhere(right).then_some(()).ok_or(COMMAND)
}

/// The rights that an action needs in the keyspace of its key.
fn needed(action: Action) -> &'static [Right] {
    match action {
        Action::Get => &[Right::Read],
        Action::Put | Action::Delete | Action::Cas | Action::Touch | Action::Invalidate => {
            &[Right::Write]
        }
        // Its answer depends on the value.
        Action::Modify | Action::Transact => &[Right::Read, Right::Write],
        Action::Flush => &[Right::Administer],
        // They have no key; the node knows who may ask for them.
        Action::Ping | Action::Map | Action::Settle | Action::Handback | Action::Walk => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::modify::{Vivified, Vivify, When};

    const ACTIONS: [Action; 9] = [
        Action::Get,
        Action::Put,
        Action::Delete,
        Action::Cas,
        Action::Touch,
        Action::Modify,
        Action::Transact,
        Action::Invalidate,
        Action::Flush,
    ];

    #[test]
    fn each_action_needs_its_rights_in_the_keyspace_of_its_key() {
        let only = |rights: &[Right]| {
            let mut only = Rights::default();
            rights.iter().for_each(|right| only.of_mut(*right).set(7, true));
            only
        };
        let may = |action, keyspace, rights: &[Right]| {
            let head = CommandHead::new(action, keyspace);
            [What::Command(head), What::Alone(head, None)]
                .map(|what| check(&what, &only(rights)).is_ok())
        };
        for action in ACTIONS {
            for mask in 0..8_u8 {
                let has = |number: usize| mask >> number & 1 != 0;
                let rights: Vec<Right> =
                    (0..3).filter(|number| has(*number)).map(|number| Right::ALL[number]).collect();
                let wanted = match action {
                    Action::Get => has(0),
                    Action::Modify | Action::Transact => has(0) && has(1),
                    Action::Flush => has(2),
                    _ => has(1),
                };
                assert_eq!(may(action, 7, &rights), [wanted; 2], "{action:?} {rights:?}");
                assert_eq!(may(action, 8, &rights), [false; 2], "{action:?} elsewhere");
            }
        }
        assert_eq!(may(Action::Map, 8, &[]), [true; 2]);
    }

    #[test]
    fn an_operation_that_changes_nothing_is_a_read_and_what_waits_is_checked_later() {
        let head = CommandHead::new(Action::Modify, 7);
        let (mut reads, mut writes) = (Rights::default(), Rights::default());
        reads.read.set(7, true);
        writes.write.set(7, true);
        let keep = Modify::new(Edit::Keep);
        let when = When { version: Some(3), ..When::ALWAYS };
        let vivify = Some(Vivify { value: Vivified::Empty, ttl: Ttl::Keep });
        for (modify, is_read) in [
            (keep, true),
            (Modify { when, ..keep }, true),
            (Modify { ttl: Ttl::Never, ..keep }, false),
            (Modify { vivify, ..keep }, false),
            (Modify::new(Edit::Herd { recache_ms: 1 }), false),
            (Modify::new(Edit::Delete), false),
            (Modify::new(Edit::Set), false),
        ] {
            let modify = Box::new(modify);
            for what in
                [What::Modify(head, modify.clone()), What::Alone(head, Some(modify.clone()))]
            {
                assert_eq!(check(&what, &reads).is_ok(), is_read, "{what:?}");
                assert_eq!(check(&what, &writes), Err(KEY), "{what:?}");
            }
        }
        for rights in [reads, writes, Rights::default()] {
            let held = What::Held(CommandHead::new(Action::Get, 7));
            assert!(check(&held, &rights).is_ok(), "it is a write, perhaps");
        }
    }

    #[test]
    fn what_concerns_all_keyspaces_needs_the_right_in_all() {
        let mut rights = Rights::ALL;
        assert!(check(&What::Stats, &rights).is_ok() && check(&What::Hot, &rights).is_ok());
        rights.administer.set(200, false);
        assert_eq!(check(&What::Stats, &rights), Err(COMMAND));
        assert_eq!(check(&What::Hot, &rights), Err(COMMAND));
        let walk = What::Walk(Box::new(crate::shard::codec::walk::Walk::all(None)));
        assert!(check(&walk, &rights).is_ok());
        rights.read.set(0, false);
        assert_eq!(check(&walk, &rights), Err(COMMAND), "it would show what can't be read");
        for what in [What::Routes, What::Said, What::Again, What::Auth, What::Last] {
            assert!(check(&what, &Rights::default()).is_ok());
        }
    }
}
