// The tree of a flame graph as arrays. Nodes come by depth, then by parent, then by name: siblings stand together.

class CallTree {
  constructor(about, view) {
    const n = about.nodes;
    const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    const part = (Type, at) => new Type(bytes, at * n, n);
    this.size = n;
    this.parent = part(Int32Array, 0);
    this.name = part(Int32Array, 4);
    this.own = part(Float64Array, 8);
    this.total = this.sums(this.own);
    this.before = about.difference ? this.sums(part(Float64Array, 16)) : null;
    this.change = about.difference ? part(Float32Array, 24) : null;
    this.depth = new Uint16Array(n);
    this.firstChild = new Int32Array(n).fill(-1);
    this.lastChild = new Int32Array(n).fill(-2);
    this.levels = [];
    for (let i = 0; i < n; i++) {
      const p = this.parent[i];
      if (p >= 0) {
        this.depth[i] = this.depth[p] + 1;
        if (this.firstChild[p] < 0) this.firstChild[p] = i;
        this.lastChild[p] = i;
      }
      if (this.levels.length === this.depth[i]) this.levels.push([i, i]);
      this.levels[this.depth[i]][1] = i + 1;
    }
    this.measure(this.total);
  }

  /** Of each node what it has and all below it. */
  sums(own) {
    const found = own.slice();
    for (let i = this.size - 1; i >= 0; i--) if (this.parent[i] >= 0) found[this.parent[i]] += found[i];
    return found;
  }

  /** Takes the widths of the boxes from `values`, and from them where each begins. */
  measure(values) {
    this.width = values;
    this.left = new Float64Array(this.size);
    const next = new Float64Array(this.size);
    let root = 0;
    for (let i = 0; i < this.size; i++) {
      const p = this.parent[i];
      this.left[i] = p < 0 ? root : next[p];
      next[i] = this.left[i];
      if (p < 0) root += values[i];
      else next[p] += values[i];
    }
    this.whole = root;
    this.wholeOf = (column) => {
      let sum = 0;
      for (let i = 0; i < this.size && this.parent[i] < 0; i++) sum += column[i];
      return sum;
    };
  }

  /** The node of a level that lies at x, -1 for none. */
  at(level, x) {
    if (level < 0 || level >= this.levels.length) return -1;
    const i = this.from(level, x);
    return i < this.levels[level][1] && this.left[i] <= x && x < this.left[i] + this.width[i] ? i : -1;
  }

  /** The first node of a level that ends behind x. */
  from(level, x) {
    let [low, high] = this.levels[level];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.left[middle] + this.width[middle] > x) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** How deep the boxes go below a node that are not narrower than `least`. */
  deepest(node, least) {
    const [a, b] = node < 0 ? [0, this.whole] : [this.left[node], this.left[node] + this.width[node]];
    let level = node < 0 ? 0 : this.depth[node];
    for (let deeper = level + 1; deeper < this.levels.length; deeper++) {
      let seen = false;
      for (let i = this.from(deeper, a); i < this.levels[deeper][1] && this.left[i] < b && !seen; i++) seen = this.width[i] >= least;
      if (!seen) break;
      level = deeper;
    }
    return level;
  }

  /** Share of all that has a name out of `names` (a Uint8Array) somewhere in its stack; recursion counts once. */
  matched(names) {
    const covered = new Uint8Array(this.size);
    let sum = 0;
    for (let i = 0; i < this.size; i++) {
      const p = this.parent[i];
      if (p >= 0 && covered[p]) covered[i] = 1;
      else if (names[this.name[i]]) {
        covered[i] = 1;
        sum += this.width[i];
      }
    }
    return this.whole ? sum / this.whole : 0;
  }
}
