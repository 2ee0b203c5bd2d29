// Searching long lists of names: one text for each kind, a line for each name ("name", "name\twhere", "name\t\tsignature").
// The same rules as bpflab/traceable/search.py.

const RANKED = 5000;

class Names {
  constructor(group, number) {
    this.kind = group.kind;
    this.where = group.where;
    this.number = number;
    this.text = new TextDecoder().decode(group.text);
    this.low = this.text.toLowerCase();
    this.starts = new Uint32Array(group.count + 1);
    let at = 0;
    for (let line = 1; line <= group.count; line++) {
      at = this.text.indexOf("\n", at) + 1 || this.text.length + 1;
      this.starts[line] = at;
    }
    this.count = group.count;
  }

  line(number) {
    return this.text.slice(this.starts[number], this.starts[number + 1] - 1);
  }

  name(number) {
    return this.line(number).split("\t", 1)[0];
  }

  at(number) {
    const [name, where, signature] = this.line(number).split("\t");
    return { group: this, number, name, where: where || this.where, signature: signature || "" };
  }

  /** The line that a place in the text is on. */
  lineOf(place) {
    let low = 0, high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Numbers of the lines that have every word. */
  matches(words) {
    const found = [];
    if (!words.length) {
      for (let number = 0; number < this.count; number++) found.push(number);
      return found;
    }
    // the longest piece without a wildcard is looked for in the whole text; what it finds is looked at closely
    const pieces = words.flatMap((word) => word.split(/[*?]+/)).filter(Boolean).sort((a, b) => b.length - a.length);
    const patterns = words.map((word) => (/[*?]/.test(word) ? pattern(word) : null));
    const fits = (line) => words.every((word, n) => (patterns[n] ? patterns[n].test(line) : line.includes(word)));
    if (!pieces.length) return this.matches([]).filter((number) => fits(this.low.slice(this.starts[number], this.starts[number + 1] - 1)));
    const plain = words.length === 1 && !patterns[0];
    for (let at = this.low.indexOf(pieces[0]); at >= 0; ) {
      const number = this.lineOf(at);
      if (plain || fits(this.low.slice(this.starts[number], this.starts[number + 1] - 1))) found.push(number);
      at = this.low.indexOf(pieces[0], this.starts[number + 1]);
    }
    return found;
  }
}

/** A word with wildcards: a whole name or a whole place. */
function pattern(word) {
  const body = word.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, "[^\\t:]*").replace(/\?/g, "[^\\t:]");
  return new RegExp(`(^|[\\t:])${body}(?=[\\t:]|$)`);
}

function wordsOf(text) {
  return text.toLowerCase().replaceAll(":", " ").split(/\s+/).filter(Boolean);
}

/** Places that match, the best first: {total, places}; at most `most` are handed out. */
function search(lists, text, most) {
  const words = wordsOf(text);
  const hits = lists.map((names) => [names, names.matches(words)]);
  const total = hits.reduce((sum, [, found]) => sum + found.length, 0);
  if (!words.length || total > RANKED) {
    const places = [];
    for (const [names, found] of hits) for (const number of found.slice(0, most - places.length)) places.push(names.at(number));
    return { total, places };
  }
  const last = words[words.length - 1].replace(/^[*?]+|[*?]+$/g, "");
  const keyed = hits.flatMap(([names, found], order) =>
    found.map((number) => {
      const name = names.name(number).toLowerCase();
      const at = name.indexOf(last);
      const how = name === last ? 0 : at === 0 ? 1 : at > 0 && "-_:.".includes(name[at - 1]) ? 2 : 3;
      // what goes into a system call is asked for more often than what comes out of it
      return { names, number, name, how, order, length: name.length + (name.startsWith("sys_exit_") ? 2 : 0) };
    }),
  );
  keyed.sort((a, b) => a.how - b.how || a.order - b.order || a.length - b.length || (a.name < b.name ? -1 : 1));
  return { total, places: keyed.slice(0, most).map(({ names, number }) => names.at(number)) };
}
