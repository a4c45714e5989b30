//! Members without order. Knows neither keys nor commands.

use super::listpack::Listpack;

#[derive(Clone, Debug, Default)]
pub struct Set {
    items: Listpack,
}

impl Set {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The stock name of how it is kept.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.items.memory_bytes()
    }

    /// How many allocations there are to be freed.
    pub fn free_effort(&self) -> usize {
        1
    }
}
