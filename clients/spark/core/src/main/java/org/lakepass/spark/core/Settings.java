package org.lakepass.spark.core;

import java.net.URI;
import java.net.URISyntaxException;
import java.time.Duration;
import java.util.Objects;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What a provider is configured with.
 *
 * <ul>
 *   <li>The broker's address is http or https, and holds no user, query or fragment.</li>
 *   <li>There is exactly one token source.</li>
 *   <li>Equal settings may share keys; settings that differ in anything never do.</li>
 * </ul>
 */
public final class Settings {
  /** What all our Hadoop settings begin with. */
  public static final String PREFIX = "fs.s3a.lakepass.";

  static final Duration MIN_DURATION = Duration.ofSeconds(900);
  static final Duration DEFAULT_POLL_INTERVAL = Duration.ofSeconds(20);
  static final Duration MIN_POLL_INTERVAL = Duration.ofSeconds(1);
  static final Duration MAX_POLL_INTERVAL = Duration.ofMinutes(10);

  private static final Pattern DURATION = Pattern.compile("(\\d{1,9})\\s*([smh]?)");

  private final URI url;
  private final TokenSource token;
  private final String scope;
  private final Duration duration;
  private final Duration pollInterval;
  private final String loginUrl;

  Settings(URI url, TokenSource token, String scope, Duration duration, Duration pollInterval, String loginUrl) {
    this.url = url;
    this.token = token;
    this.scope = scope;
    this.duration = duration;
    this.pollInterval = pollInterval;
    this.loginUrl = loginUrl;
  }

  /**
   * Reads the settings for a bucket. {@code fs.s3a.bucket.BUCKET.lakepass.X} goes before {@code fs.s3a.lakepass.X};
   * a token source for the bucket, whichever of the three, goes before all token sources for every bucket.
   *
   * @param bucket the bucket, or {@code null} if there is none
   * @param setting finds a setting by its full name; {@code null} if it is not set
   * @param secret the same for settings that may be in a credential store
   * @throws IllegalArgumentException if a setting is missing or makes no sense; the message says which and what to write
   */
  public static Settings read(String bucket, UnaryOperator<String> setting, UnaryOperator<String> secret) {
    String url = first(bucket, "url", setting);
    if (url == null) {
      throw new IllegalArgumentException("Set " + PREFIX + "url to the address of the Lakepass broker.");
    }
    return new Settings(
        brokerUrl(url),
        tokenSource(bucket, setting, secret),
        first(bucket, "scope", setting),
        duration("duration", first(bucket, "duration", setting), null, MIN_DURATION, Duration.ofDays(7)),
        duration("poll.interval", first(bucket, "poll.interval", setting), DEFAULT_POLL_INTERVAL, MIN_POLL_INTERVAL,
            MAX_POLL_INTERVAL),
        first(bucket, "login.url", setting));
  }

  URI url() {
    return url;
  }

  TokenSource token() {
    return token;
  }

  /** As the broker takes it; {@code null} for the broker's default. */
  String scope() {
    return scope;
  }

  /** {@code null} for the broker's default. */
  Duration duration() {
    return duration;
  }

  Duration pollInterval() {
    return pollInterval;
  }

  /** How a person gets a new token: the middle of a sentence. */
  String howToLogIn() {
    return loginUrl == null
        ? "log in again where it came from (" + PREFIX + "login.url can say where that is)"
        : "get a new one at " + loginUrl;
  }

  boolean sendsTokenInTheClear() {
    String host = url.getHost();
    boolean loopback = host.equalsIgnoreCase("localhost") || host.startsWith("127.") || host.equals("[::1]");
    return !loopback && !"https".equalsIgnoreCase(url.getScheme());
  }

  @Override
  public boolean equals(Object other) {
    if (!(other instanceof Settings)) {
      return false;
    }
    Settings that = (Settings) other;
    return url.equals(that.url)
        && token.equals(that.token)
        && Objects.equals(scope, that.scope)
        && Objects.equals(duration, that.duration)
        && pollInterval.equals(that.pollInterval)
        && Objects.equals(loginUrl, that.loginUrl);
  }

  @Override
  public int hashCode() {
    return Objects.hash(url, token, scope, duration, pollInterval, loginUrl);
  }

  @Override
  public String toString() {
    return url + ", token from " + token + ", scope " + (scope == null ? "the broker's" : scope);
  }

  private static String first(String bucket, String name, UnaryOperator<String> setting) {
    // S3A copies a bucket's settings over the general ones itself, but not everything that makes a provider does.
    String ofBucket = bucket == null ? null : nonEmpty(setting.apply(ofBucket(bucket, name)));
    return ofBucket != null ? ofBucket : nonEmpty(setting.apply(PREFIX + name));
  }

  private static TokenSource tokenSource(String bucket, UnaryOperator<String> setting, UnaryOperator<String> secret) {
    TokenSource source = bucket == null ? null : oneOf(ofBucket(bucket, "token"), setting, secret);
    if (source == null) {
      source = oneOf(PREFIX + "token", setting, secret);
    }
    if (source == null) {
      throw new IllegalArgumentException("Set one of " + PREFIX + "token.file, .token.env and .token: where your token is.");
    }
    return source;
  }

  private static TokenSource oneOf(String name, UnaryOperator<String> setting, UnaryOperator<String> secret) {
    String literal = nonEmpty(secret.apply(name));
    String file = nonEmpty(setting.apply(name + ".file"));
    String variable = nonEmpty(setting.apply(name + ".env"));
    int found = (literal == null ? 0 : 1) + (file == null ? 0 : 1) + (variable == null ? 0 : 1);
    if (found > 1) {
      throw new IllegalArgumentException("Set only one of " + name + ".file, .env and " + name + ": which token is meant?");
    }
    if (literal != null) {
      return TokenSource.literal(literal);
    }
    if (file != null) {
      return TokenSource.file(file);
    }
    return variable == null ? null : TokenSource.environment(variable);
  }

  private static String ofBucket(String bucket, String name) {
    return "fs.s3a.bucket." + bucket + ".lakepass." + name;
  }

  private static String nonEmpty(String value) {
    return value == null || value.isBlank() ? null : value.trim();
  }

  private static URI brokerUrl(String text) {
    String wanted = PREFIX + "url must be an address like https://lakepass.example.org, without user, query and fragment";
    URI url;
    try {
      url = new URI(text.replaceAll("/+$", ""));
    } catch (URISyntaxException e) {
      // Not quoted: it may hold a password.
      throw new IllegalArgumentException(wanted + ".");
    }
    boolean http = "http".equalsIgnoreCase(url.getScheme()) || "https".equalsIgnoreCase(url.getScheme());
    if (!http || url.getHost() == null || url.getRawUserInfo() != null || url.getRawQuery() != null
        || url.getRawFragment() != null) {
      throw new IllegalArgumentException(wanted + ".");
    }
    return url;
  }

  private static Duration duration(String name, String text, Duration byDefault, Duration min, Duration max) {
    if (text == null) {
      return byDefault;
    }
    Matcher parts = DURATION.matcher(text);
    if (!parts.matches()) {
      throw new IllegalArgumentException(PREFIX + name + " must be seconds, or a number with s, m or h: 3600, 60m, 1h; it is "
          + text + ".");
    }
    long number = Long.parseLong(parts.group(1));
    Duration duration;
    switch (parts.group(2)) {
      case "h":
        duration = Duration.ofHours(number);
        break;
      case "m":
        duration = Duration.ofMinutes(number);
        break;
      default:
        duration = Duration.ofSeconds(number);
    }
    if (duration.compareTo(min) < 0 || duration.compareTo(max) > 0) {
      throw new IllegalArgumentException(PREFIX + name + " must be between " + min.toSeconds() + " and " + max.toSeconds()
          + " seconds; it is " + text + ".");
    }
    return duration;
  }
}
