/** Notes on nodes; lists are never changed, new ones are made. */

import type { Note } from './types';

export const LONGEST_NOTE = 4000;

/** What is kept of a text: no blanks around it, not more than fits; null: nothing is left. */
export function tidy(text: string): string | null {
  return [...text.trim()].slice(0, LONGEST_NOTE).join('') || null;
}

export function addNote(notes: Note[], nodes: number[], text: string, now: Date): Note[] {
  const kept = tidy(text);
  if (kept === null || !nodes.length) return notes;
  return [...notes, { nodes: [...nodes], text: kept, when: now.toISOString() }];
}

/** Another text; an empty one changes nothing, deleting is asked for in its own way. */
export function editNote(notes: Note[], note: Note, text: string, now: Date): Note[] {
  const kept = tidy(text);
  if (kept === null) return notes;
  return notes.map((other) =>
    other === note ? { ...note, text: kept, when: now.toISOString() } : other,
  );
}

export function removeNote(notes: Note[], note: Note): Note[] {
  return notes.filter((other) => other !== note);
}

/** Notes that concern any of the nodes, and the others; the newest first. */
export function sortNotes(notes: Note[], nodes: number[]): { here: Note[]; elsewhere: Note[] } {
  const inside = new Set(nodes);
  const newest = [...notes].sort((a, b) => b.when.localeCompare(a.when));
  const concerns = (note: Note) => note.nodes.some((node) => inside.has(node));
  return { here: newest.filter(concerns), elsewhere: newest.filter((note) => !concerns(note)) };
}
