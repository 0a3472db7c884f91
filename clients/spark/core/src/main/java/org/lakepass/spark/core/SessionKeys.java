package org.lakepass.spark.core;

import java.time.Instant;

/** Session keys for S3, as the broker issued them. {@code toString} shows neither secret. */
public final class SessionKeys {
  private final String accessKeyId;
  private final String secretAccessKey;
  private final String sessionToken;
  private final Instant expiration;

  SessionKeys(String accessKeyId, String secretAccessKey, String sessionToken, Instant expiration) {
    this.accessKeyId = accessKeyId;
    this.secretAccessKey = secretAccessKey;
    this.sessionToken = sessionToken;
    this.expiration = expiration;
  }

  public String accessKeyId() {
    return accessKeyId;
  }

  /** A secret: for signing only. */
  public String secretAccessKey() {
    return secretAccessKey;
  }

  /** A secret: for signing only. */
  public String sessionToken() {
    return sessionToken;
  }

  /** From this moment on the store refuses the keys. */
  public Instant expiration() {
    return expiration;
  }

  boolean validAt(Instant moment) {
    return moment.isBefore(expiration);
  }

  @Override
  public String toString() {
    return "SessionKeys[" + accessKeyId + ", until " + expiration + "]";
  }
}
