//! Several notifications in one request.

use super::*;

/// A lane with batches of at most four, to which all of this log has come.
fn in_batches(log: Vec<RowKeys>) -> World {
    in_batches_with(LIMITS, log)
}

fn in_batches_with(limits: Limits, log: Vec<RowKeys>) -> World {
    let mut world = World::with(limits, log);
    world.batch_by(Some(batches(4, 50)));
    (0..world.log.len()).for_each(|_| world.arrive());
    world
}

#[test]
fn what_is_ready_goes_together_at_once_where_it_fills_a_batch_and_else_after_its_linger() {
    let mut world = in_batches((0..6).map(row).collect());
    world.launch();
    assert_eq!(world.under_way(), [[0, 1, 2, 3]]);
    let wake = world.lane.next_wake(world.now).expect("the rest lingers");
    assert_eq!(wake, world.now + Duration::from_millis(50));
    world.now = wake;
    world.launch();
    assert_eq!(world.under_way(), [vec![0, 1, 2, 3], vec![4, 5]]);
    world.land(0, true);
    world.land(0, true);
    assert_eq!(world.watermark(), 6);
}

#[test]
fn changes_of_one_row_go_together_in_their_order() {
    let mut world = in_batches(vec![row(1), row(2), row(1), RowKeys::Rows(smallvec::smallvec![1, 2]), RowKeys::Table]);
    world.now += Duration::from_millis(50);
    world.launch();
    assert_eq!(world.under_way(), [[0, 1, 2, 3]]);
    world.land(0, true);
    world.launch();
    assert_eq!(world.under_way(), [[4]], "what waited behind them has lingered already");
}

#[test]
fn what_fails_together_is_tried_in_halves_and_then_alone_and_holds_back_its_own_row_only() {
    // Not given up while the others find their way out of its batch.
    let patient = Limits { retry: RetryPolicy { max_attempts: 100, ..LIMITS.retry }, ..LIMITS };
    let mut world = in_batches_with(patient, vec![row(0), row(1), row(2), row(0)]);
    let mut sizes = Vec::new();
    world.now += Duration::from_millis(50);
    while world.accepted.len() < 2 {
        world.lane.wake(world.now);
        (0..4).for_each(|_| world.step());
        while let Some(request) = world.under_way().first() {
            sizes.push(request.len());
            world.land(0, !request.contains(&0));
        }
        world.now += LIMITS.retry.cap;
        assert!(sizes.len() < 20, "{sizes:?}");
    }
    assert_eq!(sizes[0], 4);
    assert!(sizes[1..].iter().all(|size| *size <= 2), "{sizes:?}");
    assert!(!world.accepted.contains(&3), "it waits for the first change of its row");
    assert!(world.lane.is_flowing(), "one request that fails is one failure");
    world.finish();
    world.assert_kept();
}

#[test]
fn a_request_that_is_too_large_is_no_attempt_and_goes_again_in_halves() {
    let mut world = in_batches(vec![row(0), row(1), row(2), row(0)]);
    world.launch();
    world.now += Duration::from_millis(50);
    world.launch();
    assert_eq!(world.under_way(), [[0, 1, 2, 3]]);
    world.answer(0, false, setback(None, true));
    world.launch();
    assert_eq!(world.under_way(), [vec![0, 1], vec![2]], "its follower waits for another request");
    world.land(0, true);
    world.land(0, true);
    world.launch();
    assert_eq!(world.under_way(), [[3]]);
    assert!(world.flying[0].iter().all(|start| start.attempt == 1));
    world.finish();
    world.assert_kept();
    assert!(world.outbox.is_empty(), "nothing had to be written");
}
