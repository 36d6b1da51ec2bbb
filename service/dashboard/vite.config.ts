import { defineConfig } from "vite";

// The page is served under a policy without inline code, so nothing may be inlined; `npm run dev` needs a running service.
export default defineConfig({
  base: "./", // a proxy may put the page under a path
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 2000, // kB, of the page that shows the API
    rolldownOptions: { input: ["index.html", "docs.html"] },
  },
  server: {
    fs: { allow: ["../.."] }, // the client's sources
    proxy: Object.fromEntries(
      ["/v1", "/whip", "/login", "/notice", "/readyz"].map((path) => [path, { target: "http://127.0.0.1:8000", ws: true }]),
    ),
  },
});
