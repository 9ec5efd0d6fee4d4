import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The page is served under a secret path and, exported, opened from disk: every address is relative.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    outDir: process.env.TOPOACT_PAGE ?? '../topoact_gpu/explore/static',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    assetsInlineLimit: 0,
    // what the bundled packages' licences ask to be shipped with them
    license: { fileName: 'licenses.md' },
    modulePreload: false,
  },
  // a module from a blob does not run in a page that was opened from disk
  worker: { format: 'iife' },
  test: { include: ['test/**/*.test.ts'], environment: 'node' },
});
