//! Forests made from a list of parents; safe against input that no kernel should give.

/// The indices 0 to n as a forest.
pub(super) struct Forest {
    /// Indices without a parent, in ascending order; then those cut out of a cycle.
    pub roots: Vec<usize>,
    /// The children of each index, in ascending order.
    pub children: Vec<Vec<usize>>,
    /// The parent of each index.
    pub parent: Vec<Option<usize>>,
    /// Every index once, parents before their children.
    pub order: Vec<usize>,
}

impl Forest {
    /// The forest in which index `i` is below `parent[i]`.
    ///
    /// Parents are read one process after another, so pid reuse between two reads can make a cycle. It is cut at the
    /// first index that reaches it: the result has all indices, each once.
    pub fn new(mut parent: Vec<Option<usize>>) -> Self {
        let mut children = vec![Vec::new(); parent.len()];
        let mut roots = Vec::new();
        for (child, &parent) in parent.iter().enumerate() {
            match parent {
                Some(parent) => children[parent].push(child),
                None => roots.push(child),
            }
        }
        let mut seen = vec![false; parent.len()];
        let mut order = Vec::with_capacity(parent.len());
        for &root in &roots {
            visit(root, &children, &mut seen, &mut order);
        }
        // An index that no root leads to is on a cycle or below one.
        for index in 0..parent.len() {
            if seen[index] {
                continue;
            }
            let root = on_cycle(index, &parent);
            if let Some(cut) = parent[root].take() {
                children[cut].retain(|&child| child != root);
            }
            roots.push(root);
            visit(root, &children, &mut seen, &mut order);
        }
        Self { roots, children, parent, order }
    }

    /// Keeps `index`, its ancestors and its descendants.
    pub fn keep_branch(&mut self, index: usize) {
        let mut keep = vec![false; self.parent.len()];
        let mut up = Some(index);
        while let Some(ancestor) = up {
            keep[ancestor] = true;
            up = self.parent[ancestor];
        }
        let mut below = vec![false; self.parent.len()];
        below[index] = true;
        for &i in &self.order {
            if self.parent[i].is_some_and(|parent| below[parent]) {
                below[i] = true;
                keep[i] = true;
            }
        }
        self.retain(&keep);
    }

    /// Keeps the indices that are wanted, and their ancestors.
    pub fn keep_with_ancestors(&mut self, wanted: impl Fn(usize) -> bool) {
        let mut keep: Vec<bool> = (0..self.parent.len()).map(wanted).collect();
        // Children first, so that it is known which of them are kept.
        for &i in self.order.iter().rev() {
            if let Some(parent) = self.parent[i].filter(|_| keep[i]) {
                keep[parent] = true;
            }
        }
        self.retain(&keep);
    }

    /// The same forest with at most this many levels: deeper indices are moved to the last one, in the same order.
    pub fn no_deeper_than(&self, levels: usize) -> Self {
        let mut level = vec![1; self.parent.len()];
        let mut children = vec![Vec::new(); self.parent.len()];
        let mut parent = self.parent.clone();
        for &index in &self.order {
            let Some(above) = parent[index] else { continue };
            let above = if level[above] < levels { Some(above) } else { parent[above] };
            parent[index] = above;
            if let Some(above) = above {
                level[index] = level[above] + 1;
                children[above].push(index);
            }
        }
        Self { roots: self.roots.clone(), children, parent, order: self.order.clone() }
    }

    fn retain(&mut self, keep: &[bool]) {
        self.roots.retain(|&i| keep[i]);
        self.order.retain(|&i| keep[i]);
        for children in &mut self.children {
            children.retain(|&i| keep[i]);
        }
    }
}

fn visit(root: usize, children: &[Vec<usize>], seen: &mut [bool], order: &mut Vec<usize>) {
    let mut stack = vec![root];
    while let Some(index) = stack.pop() {
        seen[index] = true;
        order.push(index);
        stack.extend(children[index].iter().rev());
    }
}

/// An index of the cycle that the parents of `index` end in.
fn on_cycle(index: usize, parent: &[Option<usize>]) -> usize {
    // Brent's algorithm: the hare goes on, the tortoise jumps to the hare after 1, 2, 4, … steps.
    let (mut tortoise, mut hare) = (index, index);
    let (mut steps, mut limit) = (0_usize, 1_usize);
    while let Some(next) = parent[hare] {
        hare = next;
        if hare == tortoise {
            break;
        }
        steps += 1;
        if steps == limit {
            (tortoise, steps, limit) = (hare, 0, limit * 2);
        }
    }
    hare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_has_parents_first_and_each_index_once() {
        let forest = Forest::new(vec![None, Some(0), Some(3), None, Some(1), Some(0)]);
        assert_eq!(forest.roots, [0, 3]);
        assert_eq!(forest.children[0], [1, 5]);
        assert_eq!(forest.order, [0, 1, 4, 5, 3, 2]);
    }

    #[test]
    fn cycle_is_cut_and_loses_nothing() {
        // 0 is below the cycle 1 → 2 → 3 → 1; 4 is its own parent; 5 is a root.
        let forest = Forest::new(vec![Some(1), Some(2), Some(3), Some(1), Some(4), None]);
        let mut all = forest.order.clone();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert_eq!(forest.roots.len(), 3);
        assert_eq!(forest.children.iter().map(Vec::len).sum::<usize>(), 3);
    }

    #[test]
    fn branch_has_ancestors_and_descendants() {
        let mut forest = Forest::new(vec![None, Some(0), Some(0), Some(1), Some(3), Some(1), None]);
        forest.keep_branch(3);
        assert_eq!(forest.roots, [0]);
        assert_eq!(forest.order, [0, 1, 3, 4]);
        assert_eq!(forest.children[1], [3]);
    }

    #[test]
    fn wanted_indices_are_kept_with_their_ancestors() {
        let mut forest = Forest::new(vec![None, Some(0), Some(0), Some(1), Some(3), Some(1), None]);
        forest.keep_with_ancestors(|i| i == 3 || i == 6);
        assert_eq!(forest.roots, [0, 6]);
        assert_eq!(forest.order, [0, 1, 3, 6]);
        assert_eq!(forest.children[3], [0_usize; 0]);
    }

    #[test]
    fn deeper_indices_become_siblings() {
        // 0 → 1 → 2 → 3 → 4, and 3 → 5, 1 → 6; 7 is a root.
        let parents = vec![None, Some(0), Some(1), Some(2), Some(3), Some(3), Some(1), None];
        let flat = Forest::new(parents).no_deeper_than(3);
        assert_eq!((&flat.roots[..], &flat.children[0][..]), (&[0, 7][..], &[1][..]));
        assert_eq!(flat.children[1], [2, 3, 4, 5, 6]);
        assert!(flat.children[2..].iter().all(Vec::is_empty));
        let long = Forest::new((0..200_000_usize).map(|i| i.checked_sub(1)).collect()).no_deeper_than(48);
        assert_eq!(long.children[46].len(), 200_000 - 47);
    }

    #[test]
    fn long_chain_needs_no_stack() {
        let forest = Forest::new((0..200_000_usize).map(|i| i.checked_sub(1)).collect());
        assert_eq!(forest.order.len(), 200_000);
    }
}
