import { defineConfig } from "vitest/config";

// django-vite reads the manifest and knows an entry by its source name.
export default defineConfig({
  base: "./",
  build: {
    manifest: "manifest.json",
    assetsInlineLimit: 0, // an inlined font would be a data: address, which the CSP refuses
    target: "es2022",
    chunkSizeWarningLimit: 700,
    rollupOptions: { input: ["src/story.ts", "src/site.ts", "src/pair.ts", "src/rubric.ts", "src/marking.ts", "src/notes.ts", "src/run.ts", "src/violations.ts"] },
  },
  test: { include: ["src/**/*.test.ts"] },
});
