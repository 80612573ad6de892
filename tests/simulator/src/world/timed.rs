//! Owns knowing when to look: a map of things that change by the clock, of which most never do.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use jiff::Timestamp;

/// Things by their ids, and the first moment at which one of them may have something to do. Every access that could
/// change one makes that moment a past one, so it is never too late.
#[derive(Debug)]
pub(crate) struct Timed<T> {
    things: BTreeMap<String, T>,
    /// `None`: never.
    due: Option<Timestamp>,
}

impl<T> Default for Timed<T> {
    fn default() -> Self {
        Self { things: BTreeMap::new(), due: None }
    }
}

impl<T> Deref for Timed<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &Self::Target {
        &self.things
    }
}

impl<T> DerefMut for Timed<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.due = Some(Timestamp::MIN);
        &mut self.things
    }
}

impl<T> Timed<T> {
    /// Brings everything up to `now`, unless nothing can be due. `bring` does it to one thing and says when that has
    /// something to do next.
    pub(super) fn pass(&mut self, now: Timestamp, bring: impl FnMut(&mut T) -> Option<Timestamp>) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = self.things.values_mut().filter_map(bring).min();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_due_is_not_looked_at_until_something_may_have_changed() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut map = Timed::<i64>::default();
        let looked = |map: &mut Timed<i64>, second: i64| {
            let mut count = 0;
            map.pass(at(second), |due| {
                count += 1;
                Some(at(*due)).filter(|due| *due > at(second))
            });
            count
        };
        assert_eq!(looked(&mut map, 0), 0);
        map.insert("a".into(), 5);
        map.insert("b".into(), 9);
        assert_eq!([looked(&mut map, 1), looked(&mut map, 4), looked(&mut map, 5)], [2, 0, 2]);
        assert_eq!([looked(&mut map, 8), looked(&mut map, 9), looked(&mut map, 99)], [0, 2, 0]);
        *map.get_mut("a").unwrap() = 200;
        assert_eq!([looked(&mut map, 99), looked(&mut map, 100), looked(&mut map, 200)], [2, 0, 2]);
    }
}
