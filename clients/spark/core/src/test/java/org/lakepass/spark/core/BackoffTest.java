package org.lakepass.spark.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

class BackoffTest {
  private static final Duration NOW = Duration.ZERO;

  @Test
  void theCeilingDoublesUpToTheLongest() {
    Backoff highest = new Backoff(Duration.ofSeconds(20), bound -> bound - 1);
    assertEquals(500, highest.pause(0, NOW).toMillis());
    assertEquals(1000, highest.pause(1, NOW).toMillis());
    assertEquals(16_000, highest.pause(5, NOW).toMillis());
    assertEquals(20_000, highest.pause(6, NOW).toMillis());
    assertEquals(20_000, highest.pause(Integer.MAX_VALUE, NOW).toMillis());
    assertEquals(30_000, new Backoff(Duration.ofMinutes(10), bound -> bound - 1).pause(99, NOW).toMillis());
  }

  @Test
  void jitterSpreadsOverAllOfIt() {
    Random random = new Random(7);
    Backoff backoff = new Backoff(Duration.ofSeconds(20), bound -> (long) (random.nextDouble() * bound));
    long[] pauses = LongStream.range(0, 1000).map(i -> backoff.pause(3, NOW).toMillis()).sorted().toArray();
    assertTrue(pauses[0] >= 0 && pauses[0] < 200, "from nothing: " + pauses[0]);
    assertTrue(pauses[999] <= 4000 && pauses[999] > 3800, "to the ceiling: " + pauses[999]);
    assertTrue(pauses[500] > 1700 && pauses[500] < 2300, "evenly: " + pauses[500]);
  }

  @Test
  void neverSoonerThanTheBrokerAsks() {
    Backoff lowest = new Backoff(Duration.ofSeconds(20), bound -> 0);
    assertEquals(7, lowest.pause(0, Duration.ofSeconds(7)).toSeconds());
    assertEquals(60, lowest.pause(0, Duration.ofHours(7)).toSeconds(), "but keys run out meanwhile");
  }
}
