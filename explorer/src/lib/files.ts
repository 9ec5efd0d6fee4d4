/** Files out of the page, and pictures into it. */

import type { Photo } from './picture';

export function download(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Load the pictures of nodes; those that cannot be had are left out. */
export async function loadPhotos(
  nodes: number[],
  address: (node: number) => string | null,
): Promise<Map<number, Photo>> {
  const photos = new Map<number, Photo>();
  await Promise.all(
    nodes.map(async (node) => {
      const url = address(node);
      const photo = url === null ? null : await loadPhoto(url);
      if (photo) photos.set(node, photo);
    }),
  );
  return photos;
}

async function loadPhoto(url: string): Promise<Photo | null> {
  const canvas = await drawn(url, false);
  return canvas && { element: canvas, url: canvas.toDataURL('image/jpeg', 0.85) };
}

/** A picture cut to a disc, as an address; null where it cannot be had. */
export async function roundPicture(url: string): Promise<string | null> {
  return (await drawn(url, true))?.toDataURL() ?? null;
}

/** The middle square of a picture. */
async function drawn(url: string, round: boolean): Promise<HTMLCanvasElement | null> {
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const side = Math.min(width, height);
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    const context = canvas.getContext('2d')!;
    if (round) {
      context.arc(side / 2, side / 2, side / 2, 0, 2 * Math.PI);
      context.clip();
    }
    context.drawImage(image, (side - width) / 2, (side - height) / 2);
    return canvas;
  } catch {
    return null; // the node is drawn without
  }
}
