// 24x24 line icons drawn for this component.
const ICONS = {
  hand: "M8 12V6.5a1.5 1.5 0 0 1 3 0V11V4.5a1.5 1.5 0 0 1 3 0V11V6a1.5 1.5 0 0 1 3 0v6V9a1.5 1.5 0 0 1 3 0v5a7 7 0 0 1-7 7h-1a7 7 0 0 1-5.6-2.8L4 14a1.6 1.6 0 0 1 2.4-2.1L8 13.5",
  brush:
    "M20 4c-4 1.5-8.500 5.500-10.500 9L12 15.500c3.500-2 7-6.500 8-11.500zM9 13.500c-2 0-3.500 1.500-3.500 3.500 0 1.500-.8 2.500-2 3 4.500 1 8-1 8-4",
  eraser:
    "M9.500 20 4 14.500a1.500 1.500 0 0 1 0-2.100l8.400-8.400a1.500 1.500 0 0 1 2.100 0l5.500 5.500a1.500 1.500 0 0 1 0 2.100L11.600 20zM8 8.500l7.500 7.500M9.500 20H20",
  polygon: "M12 4 20 10l-3 9H7L4 10zM12 4h.01M20 10h.01M17 19h.01M7 19h.01M4 10h.01",
  rectangle: "M4 6h16v12H4z",
  panel: "M4 5h16v14H4zM15 5v14",
  fill: "M11 4 4.500 10.500a1.500 1.500 0 0 0 0 2.100l5.900 5.900a1.500 1.500 0 0 0 2.100 0L19 12zM8 4l3 0M5 12h13M20.500 15.500c1 1.500 1.500 2.300 1.500 3a1.500 1.500 0 0 1-3 0c0-.7.5-1.500 1.500-3z",
  smart:
    "M5 19 15 9M14 5.500V3M14 15v-2.500M9.500 9H7M21 9h-2.500M17.500 5.500 19 4M10.500 5.500 9 4M17.500 12.500 19 14",
  teach: "M3 9l9-5 9 5-9 5zM7 11.500v4.500c0 1.300 2.300 2.500 5 2.500s5-1.200 5-2.500v-4.500M21 9v6",
  pick: "M14 6l4 4M16.500 3.500a2.500 2.500 0 0 1 4 4L17 11l-4-4zM13.500 7.500 5 16v3h3l8.500-8.500",
  undo: "M8 5 4 9l4 4M4 9h10a5.500 5.500 0 0 1 0 11H9",
  redo: "M16 5l4 4-4 4M20 9H10a5.500 5.500 0 0 0 0 11h5",
  clean: "M4 20h16M6 16l7-12 5 3-6 9zM10 9l5 3",
  start: "M12 4v10M8 10l4 4 4-4M5 19h14",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  help: "M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 17.500h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  expand: "M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7",
  split: "M12 3v18M8 8l-4 4 4 4M16 8l4 4-4 4",
  outline: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z",
  pattern: "M4 10l6-6M4 16 16 4M4.500 21.500 21 5M10 20 20 10M16 20l4-4",
  download: "M12 4v11M7.500 11 12 15.500 16.500 11M5 20h14",
  solo: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500V5M12 19v2.500M2.500 12H5M19 12h2.500",
  target: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM12 2v5M12 17v5M2 12h5M17 12h5",
  next: "M5 12h13M13 6.500l5.500 5.500L13 17.500",
  previous: "M19 12H6M11 6.500 5.500 12 11 17.500",
  under: "M4 4h10v10H4zM10 14v6h10V10h-6",
  names: "M3.500 11.500V5a1.500 1.500 0 0 1 1.500-1.500h6.500L20.500 12.500 12.500 20.500zM8 8h.01",
  check: "M5 12.500 10 17.500 19.500 7",
  close: "M6 6l12 12M18 6 6 18",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "sc-icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
