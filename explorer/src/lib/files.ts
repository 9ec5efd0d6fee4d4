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
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.getContext('2d')!.drawImage(image, 0, 0);
    return { element: canvas, url: canvas.toDataURL('image/jpeg', 0.85) };
  } catch {
    return null; // the node is drawn without
  }
}
