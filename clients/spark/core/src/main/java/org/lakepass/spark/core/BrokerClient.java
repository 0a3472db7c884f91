package org.lakepass.spark.core;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ref.WeakReference;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscribers;
import java.nio.charset.StandardCharsets;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.StringJoiner;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLHandshakeException;

/** Asks the broker once. Blocks, but never longer than the wait that was asked for and a few seconds. */
final class BrokerClient {
  /** The longest that the broker holds a question. */
  static final Duration MAX_WAIT = Duration.ofSeconds(60);

  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
  private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(10);
  private static final int MAX_ANSWER_BYTES = 64 * 1024;

  private static WeakReference<HttpClient> shared = new WeakReference<>(null);

  private final Settings settings;
  private final Duration answerTimeout;
  private final HttpClient http = sharedHttpClient();

  BrokerClient(Settings settings) {
    this(settings, ANSWER_TIMEOUT);
  }

  /** @param answerTimeout how long an answer may take, the wait that was asked for aside */
  BrokerClient(Settings settings, Duration answerTimeout) {
    this.settings = settings;
    this.answerTimeout = answerTimeout;
  }

  /** New keys, and the tag by which the broker knows them. */
  static final class Fresh {
    final SessionKeys keys;
    /** {@code null} if the broker gave none. */
    final String tag;

    Fresh(SessionKeys keys, String tag) {
      this.keys = keys;
      this.tag = tag;
    }
  }

  /**
   * Asks for keys.
   *
   * @param tag the tag of the keys in hand, or {@code null} if there are none
   * @param wait how long the broker may hold the question until there are others; whole seconds count
   * @return new keys, or nothing if those in hand are still the ones
   * @throws LakepassException if there is no such answer
   */
  Optional<Fresh> ask(String tag, Duration wait) throws LakepassException, InterruptedException {
    String token = settings.token().read();
    long waitSeconds = tag == null ? 0 : Math.min(wait.toSeconds(), MAX_WAIT.toSeconds());
    HttpRequest.Builder request =
        HttpRequest.newBuilder(address(waitSeconds)).header("Authorization", token).header("Accept", "application/json");
    if (tag != null) {
      request.header("If-None-Match", tag);
    }
    HttpResponse<byte[]> answer = send(request.build(), answerTimeout.plusSeconds(waitSeconds));
    switch (answer.statusCode()) {
      case 200:
        return Optional.of(new Fresh(Answers.keys(answer.body()), answer.headers().firstValue("ETag").orElse(null)));
      case 304:
        return Optional.empty();
      default:
        throw problem(answer);
    }
  }

  private URI address(long waitSeconds) {
    StringJoiner query = new StringJoiner("&");
    if (settings.duration() != null) {
      query.add("duration_seconds=" + settings.duration().toSeconds());
    }
    if (settings.scope() != null) {
      query.add("scope=" + URLEncoder.encode(settings.scope(), StandardCharsets.UTF_8));
    }
    if (waitSeconds > 0) {
      query.add("wait=" + waitSeconds);
    }
    return URI.create(settings.url() + "/aws/container-credentials?" + query);
  }

  private HttpResponse<byte[]> send(HttpRequest request, Duration limit) throws LakepassException, InterruptedException {
    CompletableFuture<HttpResponse<byte[]>> answer = http.sendAsync(request, info -> limitedBody());
    try {
      // The request's own timeout would not cover the body.
      return answer.get(limit.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      throw LakepassException.passing("it did not answer within " + limit.toSeconds() + " s");
    } catch (ExecutionException e) {
      throw unanswered(e.getCause());
    } finally {
      answer.cancel(true);
    }
  }

  /** The body, if it is no longer than any that the broker sends. */
  private static HttpResponse.BodySubscriber<byte[]> limitedBody() {
    AtomicInteger received = new AtomicInteger();
    byte[] body = new byte[MAX_ANSWER_BYTES];
    HttpResponse.BodySubscriber<Void> chunks = BodySubscribers.ofByteArrayConsumer(chunk -> chunk.ifPresent(bytes -> {
      int at = received.getAndAdd(bytes.length);
      if (at + bytes.length > body.length) {
        throw new UncheckedIOException(new IOException("its answer is too long"));
      }
      System.arraycopy(bytes, 0, body, at, bytes.length);
    }));
    return BodySubscribers.mapping(chunks, done -> Arrays.copyOf(body, received.get()));
  }

  private LakepassException problem(HttpResponse<byte[]> answer) {
    int status = answer.statusCode();
    String said = Answers.refusal(answer.body());
    String explained = "HTTP " + status + (said.isEmpty() ? "" : ": " + said);
    if (status == 401) {
      return LakepassException.refused("Lakepass at " + settings.url() + " does not accept the token from " + settings.token()
          + " (" + explained + "). It has expired or was revoked: " + settings.howToLogIn() + " and "
          + settings.token().howToReplace() + ".");
    }
    if (status == 403) {
      return LakepassException.refused("Lakepass at " + settings.url() + " gives no keys for the token from "
          + settings.token() + " (" + explained + ").");
    }
    if (status == 422 || status == 400) {
      return LakepassException.refused("Lakepass at " + settings.url() + " does not understand " + Settings.PREFIX + "scope or "
          + Settings.PREFIX + "duration (" + explained + ").");
    }
    if (status == 408 || status == 429 || status >= 500) {
      return LakepassException.passing("it answered " + explained, retryAfter(answer));
    }
    return LakepassException.refused("What answers at " + settings.url() + " is not a Lakepass broker (" + explained
        + "): check " + Settings.PREFIX + "url.");
  }

  private static Duration retryAfter(HttpResponse<byte[]> answer) {
    String seconds = answer.headers().firstValue("Retry-After").orElse("");
    return seconds.matches("\\d{1,6}") ? Duration.ofSeconds(Long.parseLong(seconds)) : Duration.ZERO;
  }

  private LakepassException unanswered(Throwable failure) {
    if (failure instanceof SSLHandshakeException && failure.getCause() instanceof CertificateException) {
      return LakepassException.refused("The certificate of Lakepass at " + settings.url() + " is not trusted ("
          + failure.getMessage() + "). If a CA of your own signed it, put the CA into the truststore of this JVM.");
    }
    return LakepassException.passing(describe(failure));
  }

  private static String describe(Throwable failure) {
    Throwable told = failure instanceof UncheckedIOException ? failure.getCause() : failure;
    // A refused connection has no message, and others than I/O's are not known to be free of what was sent.
    boolean says = told instanceof IOException && told.getMessage() != null;
    return says ? told.getMessage() : told.getClass().getSimpleName();
  }

  /**
   * One client serves all users of a JVM: each has threads of its own, which end when the client is garbage. It holds
   * no user's secret between requests.
   */
  private static synchronized HttpClient sharedHttpClient() {
    HttpClient client = shared.get();
    if (client == null) {
      client = HttpClient.newBuilder()
          .version(HttpClient.Version.HTTP_1_1)
          .followRedirects(HttpClient.Redirect.NEVER)
          .connectTimeout(CONNECT_TIMEOUT)
          .build();
      shared = new WeakReference<>(client);
    }
    return client;
  }
}
