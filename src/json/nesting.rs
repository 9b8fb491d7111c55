//! The objects and arrays that are open.

/// Containers that are told apart: one bit for each.
const DEPTH: usize = 128;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting {
    depth: usize,
    /// Which of the containers are objects.
    objects: u128,
    /// Containers below those.
    deeper: u64,
    inside: Inside,
}

/// Where it is in what is too deep.
#[derive(Clone, Copy, Debug, Default)]
enum Inside {
    #[default]
    Container,
    String,
    /// Behind a backslash in one.
    Escape,
}

impl Nesting {
    #[inline]
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    pub(super) const fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & (1 << (self.depth - 1)) != 0
    }

    #[inline]
    pub(super) const fn in_array(&self) -> bool {
        self.depth > 0 && !self.in_object()
    }

    /// Begins an object or an array, and returns whether it is one that is told apart. If not, its rest is to be skipped.
    #[inline]
    pub(super) const fn open(&mut self, object: bool) -> bool {
        if self.depth == DEPTH {
            (self.deeper, self.inside) = (1, Inside::Container);
            return false;
        }
        let bit = 1 << self.depth;
        self.depth += 1;
        if object {
            self.objects |= bit;
        } else {
            self.objects &= !bit;
        }
        true
    }

    #[inline]
    pub(super) const fn close(&mut self) {
        self.depth -= 1;
    }

    #[cfg(any(feature = "usage", test))]
    pub(super) const fn clear(&mut self) {
        self.depth = 0;
    }

    /// Reads over what is too deep, up to its end. `None`: it goes on behind `text`.
    pub(super) fn skip(&mut self, text: &[u8], at: &mut usize) -> Option<()> {
        while self.deeper > 0 {
            let byte = *text.get(*at)?;
            *at += 1;
            match (self.inside, byte) {
                (Inside::Container, b'{' | b'[') => self.deeper += 1,
                (Inside::Container, b'}' | b']') => self.deeper -= 1,
                (Inside::Container, b'"') | (Inside::Escape, _) => self.inside = Inside::String,
                (Inside::String, b'\\') => self.inside = Inside::Escape,
                (Inside::String, b'"') => self.inside = Inside::Container,
                _ => {}
            }
        }
        Some(())
    }
}
