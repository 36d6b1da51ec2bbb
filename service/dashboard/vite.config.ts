import { defineConfig } from "vite";

// The page is served under a policy without inline code, so nothing may be inlined; `npm run dev` needs a running service.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/whip", "/login", "/readyz"].map((path) => [path, { target: "http://127.0.0.1:8000", ws: true }]),
    ),
  },
});
