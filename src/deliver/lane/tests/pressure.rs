//! Memory is short: which lanes make room.

use super::*;

/// A full window, of which so many were accepted in the time for which a lane is left alone.
fn pressed(accepted: usize) -> World {
    let mut world = World::new((0..8).map(row).collect());
    (0..8).for_each(|_| world.arrive());
    for _ in 0..accepted {
        world.launch();
        world.land(0, true);
    }
    world.launch();
    world.now += LIMITS.patience;
    world.lane.spill_if_pressed(world.now);
    world
}

#[test]
fn a_lane_that_gets_through_what_it_holds_in_time_stays_live() {
    let mut world = pressed(2);
    assert!(!world.lane.has_tail(), "two a second are enough for the other six");
    world.finish();
    world.assert_kept();
    assert!(world.outbox.is_empty());
}

#[test]
fn a_lane_that_does_not_goes_to_the_outbox() {
    for accepted in [0, 1] {
        let mut world = pressed(accepted);
        assert!(world.lane.has_tail(), "{accepted} a second are not enough for the others");
        world.commit(usize::MAX);
        assert_eq!(world.owed(), 8 - accepted);
        while !world.flying.is_empty() {
            world.land(0, true);
        }
        world.finish();
        world.assert_kept();
    }
}
