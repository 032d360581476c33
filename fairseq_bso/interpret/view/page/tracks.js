// The rows of the tracks below the line plot, and their legends.
/* global d3 */

import { measure } from "./dom.js";
import { MARGIN, TRACK } from "./layout.js";

// Draws one track of the window of `plot`, from `top` on.
export function drawTrack(plot, track, top) {
  const values = plot.model.context.tracks[track.name];
  const group = plot.svg.append("g").attr("class", "track");
  plot.label(track.name, top + 14);
  plot.columns.forEach((column, place) => {
    const value = values[place];
    group.append("rect").attr("x", column.x + 1).attr("y", top).attr("width", column.width - 2).attr("height", TRACK)
      .attr("rx", 2).attr("fill", track.scale.colour(value));
    const text = value === null ? "" : track.labels ? track.scale.text(value) : value.toFixed(1);
    if (measure(text, 11) > column.width - 4) return;
    const dark = d3.lab(track.scale.colour(value)).l < 55;
    group.append("text").attr("class", dark ? "value light" : "value").attr("x", column.middle).attr("y", top + 14).text(text);
  });
}

// Draws the legends of tracks with labels, one row each.
export function drawLegends(plot, tracks) {
  tracks.forEach((track, place) => {
    const y = plot.bottom + 14 + place * 18;
    const values = plot.model.context.tracks[track.name].slice(0, plot.columns.length);
    plot.label(track.name, y + 9);
    let x = MARGIN.left;
    for (const [text, colour] of track.scale.legend(values)) {
      const width = measure(text, 11) + 28;
      if (x + width > plot.model.width - 10) break;
      plot.svg.append("rect").attr("class", "swatch").attr("x", x).attr("y", y).attr("width", 11).attr("height", 11)
        .attr("rx", 2).attr("fill", colour);
      plot.svg.append("text").attr("class", "legend").attr("x", x + 16).attr("y", y + 10).text(text);
      x += width;
    }
  });
}
