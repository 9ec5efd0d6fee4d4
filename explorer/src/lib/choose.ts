/** Which source the page has: the data in its own file, or the server that sent it. */

import { Bundle, hasBundle } from './bundle';
import { OfflineSource } from './offline';
import { HttpSource, type Source } from './source';

export function chooseSource(): Source {
  const lookup = (id: string) => document.getElementById(id)?.textContent ?? null;
  return hasBundle(lookup) ? new OfflineSource(new Bundle(lookup)) : new HttpSource();
}
