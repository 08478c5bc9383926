//! The tables of a running trace, as the kernel has them.

use super::kernel::TASK_STORAGE;
use aya::maps::{HashMap, Map, MapData, MapInfo};
use nix::unistd::Pid;
use nsprobe_ebpf::{BRIEF_LEN, PENDING_LEN, map};
use std::fs;

/// Returns how many entries the tables have that hold calls under way; none where the kernel has storage of tasks.
pub fn calls_under_way(nsprobe: Pid) -> usize {
    if TASK_STORAGE.here() {
        return 0;
    }
    count::<[u8; PENDING_LEN]>(nsprobe, map::CALLS)
        + count::<[u8; BRIEF_LEN]>(nsprobe, map::BRIEFS)
        + count::<[u8; PENDING_LEN]>(nsprobe, map::SCRATCH)
}

/// Returns how many entries the table of this name has, which is one by tasks.
fn count<Value: aya::Pod>(nsprobe: Pid, name: &str) -> usize {
    let dir = fs::read_dir(format!("/proc/{nsprobe}/fdinfo")).expect("nsprobe is there");
    let texts = dir.filter_map(|entry| fs::read_to_string(entry.expect("an entry").path()).ok());
    let mut ids = texts
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok());
    let id = ids.find(|&id| MapInfo::from_id(id).is_ok_and(|info| info.name_as_str() == Some(name)));
    let map = MapData::from_id(id.expect("a map of this name")).expect("the map");
    let map = Map::from_map_data(map).expect("a map");
    HashMap::<_, u64, Value>::try_from(map).expect("a table by tasks").keys().count()
}
