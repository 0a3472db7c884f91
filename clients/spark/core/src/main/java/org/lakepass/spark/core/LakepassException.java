package org.lakepass.spark.core;

import java.time.Duration;

/** There are no keys. The message says why and what to do, and holds no secret. */
public final class LakepassException extends Exception {
  private static final long serialVersionUID = 1L;

  private final boolean refused;
  private final Duration retryAfter;

  private LakepassException(String message, boolean refused, Duration retryAfter) {
    super(message);
    this.refused = refused;
    this.retryAfter = retryAfter;
  }

  /** Somebody has to do something before asking again can help. */
  static LakepassException refused(String message) {
    return new LakepassException(message, true, Duration.ZERO);
  }

  /** It may pass by itself: ask again. */
  static LakepassException passing(String message) {
    return passing(message, Duration.ZERO);
  }

  /** It may pass by itself: ask again, but not sooner than the broker said. */
  static LakepassException passing(String message, Duration retryAfter) {
    return new LakepassException(message, false, retryAfter);
  }

  boolean isRefused() {
    return refused;
  }

  Duration retryAfter() {
    return retryAfter;
  }
}
