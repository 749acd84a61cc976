import { line, nanos } from "#bench/micro/nanos.ts";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import { ClassRoom } from "#proxy/admit/class_room.ts";

/** One line per decision on whether a request is taken at all. */
export function admitLines(): string[] {
  const limit = new AdaptiveLimit();
  let now = 0;
  const sample = nanos((i) => {
    now += 0.01;
    limit.sample(5 + (i & 7), 20 + (i & 15), false, now);
  });
  const room = new ClassRoom();
  const admitted = nanos((i) => {
    const priority = (i & 3) === 0 ? "critical" : "default";
    if (room.hasRoom(i & 63, 50, priority, now)) room.took(priority, now);
  });
  return [
    line("what an upstream bears: one sample", sample),
    line("room for a class, and its record", admitted),
  ];
}
