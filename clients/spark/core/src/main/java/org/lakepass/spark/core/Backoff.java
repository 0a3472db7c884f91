package org.lakepass.spark.core;

import java.time.Duration;
import java.util.function.LongUnaryOperator;

/** How long to pause after failures in a row: exponential, with full jitter, and never sooner than the broker asked. */
final class Backoff {
  private static final Duration FIRST = Duration.ofMillis(500);
  private static final Duration LONGEST = Duration.ofSeconds(30);
  /** A broker that asks for more is not believed: keys run out meanwhile. */
  private static final Duration LONGEST_RETRY_AFTER = Duration.ofMinutes(1);

  private final Duration longest;
  private final LongUnaryOperator randomBelow;

  /**
   * @param longest the longest pause that is not the broker's wish; at most 30 s count
   * @param randomBelow a random number from 0 up to, without, its argument
   */
  Backoff(Duration longest, LongUnaryOperator randomBelow) {
    this.longest = min(longest, LONGEST);
    this.randomBelow = randomBelow;
  }

  /** @param failures how many failed in a row before this one */
  Duration pause(int failures, Duration retryAfter) {
    long ceiling = Math.min(longest.toMillis(), FIRST.toMillis() << Math.min(failures, 16));
    return min(retryAfter, LONGEST_RETRY_AFTER).plusMillis(randomBelow.applyAsLong(ceiling + 1));
  }

  private static Duration min(Duration one, Duration other) {
    return one.compareTo(other) < 0 ? one : other;
  }
}
