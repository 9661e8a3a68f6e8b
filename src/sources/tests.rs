//! What holds for every source.

use std::collections::BTreeMap;

use super::*;
use crate::fields::Need;

#[test]
fn an_empty_map_names_every_required_key_of_each_source() {
    let nothing = BTreeMap::new();
    for spec in ALL {
        let mut fields = Fields::new("metadata", &nothing);
        let needs_nothing = required(spec.keys) == 0;
        assert_eq!((spec.parse)(&mut fields).is_some(), needs_nothing, "{}", spec.name);
        assert_eq!(fields.finish().len(), required(spec.keys), "{}", spec.name);

        for kind in spec.connections {
            let mut fields = Fields::new("connections.x", &nothing);
            assert!((kind.parse)(&mut fields).is_none(), "{}", kind.name);
            assert_eq!(fields.finish().len(), required(kind.keys), "{}", kind.name);
        }
    }
}

#[test]
fn every_source_has_a_connection() {
    assert!(ALL.iter().all(|spec| !spec.connections.is_empty()));
}

#[test]
fn how_a_first_task_is_seen_is_said_in_words() {
    let pause = Duration::from_millis(200);
    let pushed = Wake::Pushed { otherwise: pause };
    assert_eq!(pushed.to_string(), "pushed within 50 ms, or else seen by a read every 200ms");
    assert_eq!(Wake::Polled(Duration::from_secs(1)).to_string(), "seen by a read every 1s");
    assert_eq!((pushed.pause(), Wake::Polled(pause).pause()), (pause, pause));
}

#[test]
fn no_two_sources_share_a_name() {
    let mut names: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}

fn required(keys: &[Key]) -> usize {
    keys.iter().filter(|key| key.need == Need::Required).count()
}
