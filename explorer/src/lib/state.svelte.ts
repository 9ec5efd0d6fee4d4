/** The state of the page. Components read it and call its methods; nothing else changes it. */

import { askedValues, ownValues, valueQuery, type Coloured } from './colouring';
import { fromHash, START, toHash, type ViewState } from './permalink';
import type { Source } from './source';
import type { Found, FoundKind, GraphData, Members, Note, RunInfo, Session } from './types';

/** Something searched for, shown on the graph in a colour of its own. */
export interface Mark {
  kind: FoundKind;
  id: number;
  members: Members;
}

export class Explorer {
  session = $state.raw<Session | null>(null);
  graph = $state.raw<GraphData | null>(null);
  view = $state<ViewState>({ ...START });
  coloured = $state.raw<Coloured | null>(null);
  marks = $state.raw<Mark[]>([]);
  notes = $state.raw<Note[]>([]);
  hovered = $state<number | null>(null);
  /** Rows lit up in the projection, and from there on the nodes that hold them. */
  litRows = $state.raw<Int32Array | null>(null);
  loading = $state(false);
  error = $state<string | null>(null);

  private turn = 0;

  constructor(readonly source: Source) {}

  get run(): RunInfo | null {
    return this.session?.runs.find(({ id }) => id === this.view.run) ?? null;
  }

  get selected(): number[] {
    return this.view.selected;
  }

  /** Load the session and the run that the address names. */
  async start(hash: string): Promise<void> {
    this.view = fromHash(hash);
    await this.guard(async () => {
      this.session = await this.source.session();
      const { runs } = this.session;
      const wanted = runs.find(({ id }) => id === this.view.run) ?? runs[0];
      if (!wanted) throw new Error('The server has no run; start it with topoact explore RUN.');
      await this.load(wanted.id, true);
    });
  }

  /** Follow an address that was changed by hand or by going back. */
  async follow(hash: string): Promise<void> {
    if (hash.replace(/^#/, '') !== toHash(this.view)) await this.start(hash);
  }

  /** Show another run; node numbers mean nothing there, so the selection goes. */
  async showRun(run: string): Promise<void> {
    await this.guard(() => this.load(run, run === this.view.run));
  }

  /** Ask for the session again: runs were added or forgotten. */
  async refresh(): Promise<void> {
    await this.guard(async () => {
      this.session = await this.source.session();
    });
  }

  async showLabel(label: string): Promise<void> {
    this.view.label = label;
    if (/^(share|lift):/.test(this.view.colour)) this.view.colour = 'top';
    this.view.marks = this.view.marks.filter((mark) => !mark.startsWith('class:'));
    if (this.view.run !== null) await this.showRun(this.view.run);
  }

  async colourBy(key: string): Promise<void> {
    this.view.colour = key;
    await this.guard(() => this.loadColours());
  }

  select(nodes: Iterable<number>): void {
    const most = this.graph?.n ?? 0;
    this.view.selected = [...new Set(nodes)].filter((a) => a < most).sort((a, b) => a - b);
  }

  toggle(node: number): void {
    const rest = this.view.selected.filter((other) => other !== node);
    this.select(rest.length < this.view.selected.length ? rest : [...rest, node]);
  }

  /** Keep the selection to compare another one with. */
  compareWith(nodes: Iterable<number>): void {
    this.view.compared = [...new Set(nodes)].sort((a, b) => a - b);
  }

  async mark({ kind, id }: Pick<Found, 'kind' | 'id'>): Promise<void> {
    const key = `${kind}:${id}`;
    if (this.view.marks.includes(key)) return;
    this.view.marks = [...this.view.marks, key].slice(-12);
    await this.guard(() => this.loadMarks());
  }

  async unmark(mark: Mark): Promise<void> {
    this.view.marks = this.view.marks.filter((key) => key !== `${mark.kind}:${mark.id}`);
    await this.guard(() => this.loadMarks());
  }

  /** Write the notes beside the run; says whether that worked. */
  async saveNotes(notes: Note[]): Promise<boolean> {
    await this.guard(async () => {
      const { run } = this.view;
      if (run !== null) await this.source.saveNotes(run, notes);
      if (this.view.run === run) this.notes = notes;
    });
    return this.error === null;
  }

  /** Run something that may fail and say on the page why it did. */
  async guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.error = null;
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  private async load(run: string, keep: boolean): Promise<void> {
    this.turn += 1;
    const turn = this.turn;
    this.loading = true;
    try {
      const graph = await this.source.graph(run, this.view.label);
      if (turn !== this.turn) return;
      if (!keep) Object.assign(this.view, { selected: [], compared: [] });
      this.view.run = run;
      this.litRows = null;
      this.hovered = null;
      this.graph = graph;
      this.select(this.view.selected);
      await Promise.all([this.loadColours(), this.loadMarks(), this.loadNotes(run)]);
    } finally {
      if (turn === this.turn) this.loading = false;
    }
  }

  private async loadColours(): Promise<void> {
    const { graph } = this;
    const { colour, run, label } = this.view;
    if (!graph || run === null) return;
    const own = ownValues(graph, colour);
    const asked = valueQuery(colour);
    if (own) this.coloured = own;
    else if (asked) {
      const values = await this.source.values(run, asked, label);
      if (this.graph === graph && this.view.colour === colour)
        this.coloured = askedValues(graph, colour, values);
    } else {
      this.view.colour = START.colour;
      this.coloured = ownValues(graph, START.colour);
    }
  }

  private async loadMarks(): Promise<void> {
    const { run, label, marks } = this.view;
    if (run === null) return;
    const found = marks.flatMap((key) => {
      const [kind, id] = key.split(':');
      const known = kind === 'class' || kind === 'input' || kind === 'word';
      return known && /^\d+$/.test(id) ? [{ kind: kind as FoundKind, id: Number(id) }] : [];
    });
    const members = await Promise.all(
      found.map(({ kind, id }) => this.source.members(run, kind, id, label)),
    );
    if (this.view.run === run)
      this.marks = found.map((mark, at) => ({ ...mark, members: members[at] }));
  }

  private async loadNotes(run: string): Promise<void> {
    const notes = await this.source.notes(run);
    if (this.view.run === run) this.notes = notes;
  }
}
