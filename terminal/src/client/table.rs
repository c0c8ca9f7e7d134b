//! What is under way, by number. A handful of entries on a device: a list searched from the front takes less of its flash
//! than a tree.

use alloc::vec::Vec;
use keyferry_channel::RequestId;

/// Entries in the order in which they came; no number twice.
pub(super) struct Table<T>(Vec<(RequestId, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts `what` in the place of whatever had this number.
    pub(super) fn insert(&mut self, id: RequestId, what: T) {
        drop(self.remove(id));
        self.0.push((id, what));
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&T> {
        self.iter().find(|(other, _)| *other == id).map(|(_, what)| what)
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut T> {
        self.iter_mut().find(|(other, _)| *other == id).map(|(_, what)| what)
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<T> {
        let at = self.0.iter().position(|(other, _)| *other == id)?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &T)> {
        self.0.iter().map(|(id, what)| (*id, what))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (RequestId, &mut T)> {
        self.0.iter_mut().map(|(id, what)| (*id, what))
    }
}
