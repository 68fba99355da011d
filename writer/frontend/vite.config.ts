import { defineConfig } from "vitest/config";

// django-vite reads the manifest and knows an entry by its source name.
export default defineConfig({
  base: "./",
  build: {
    manifest: "manifest.json",
    assetsInlineLimit: 0, // an inlined font would be a data: address, which the CSP refuses
    target: "es2022",
    chunkSizeWarningLimit: 700,
    rollupOptions: {
      input: [
        "src/drafting/story.ts",
        "src/judging/marking.ts",
        "src/judging/notes.ts",
        "src/judging/pair.ts",
        "src/judging/rubric.ts",
        "src/judging/violations.ts",
        "src/studio/run.ts",
        "src/shared/site.ts",
      ],
    },
  },
  test: { include: ["src/**/*.test.ts"], testTimeout: 30_000 }, // a machine that does other work too is slow, not wrong
});
